#include "server/weights/dense_file_writer.h"

#include "server/model/sha256.h"
#include "server/weights/new_file.h"
#include "server/weights/packed_checkpoint_writer.h"
#include "server/weights/safetensors_text.h"
#include "server/weights/scratch_buffer.h"

#include <algorithm>
#include <memory>
#include <vector>

namespace tightfit {
namespace {

StoredTensor DenseTensor(const CheckpointTensor& tensor) {
  if (!tensor.is_packed()) return tensor.stored;
  const PackedHeader header = tensor.header();
  StoredTensor dense{.name = tensor.stored.name, .dtype = StoredDtype::kF16};
  dense.shape = tensor.shape();
  dense.element_count = header.layout.rows * header.layout.columns;
  dense.size_bytes = dense.element_count * BytesOf(dense.dtype);
  return dense;
}

// Rows of [R*S, C] become rows of [C, R*S].
void TakeChannelsFirst(const PackedHeader& header, const uint16_t* from, uint16_t* to,
                       int64_t rows) {
  const int64_t channels = header.shape[1];
  const int64_t taps = header.shape[2] * header.shape[3];
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t tap = 0; tap < taps; ++tap) {
      for (int64_t channel = 0; channel < channels; ++channel) {
        to[channel * taps + tap] = from[tap * channels + channel];
      }
    }
    from += channels * taps;
    to += channels * taps;
  }
}

void DecodeRows(const PackedHeader& header, const uint8_t* codes, int64_t first_row, int64_t rows,
                uint16_t* all_values) {
  const int64_t columns = header.layout.columns;
  uint16_t* const out = all_values + first_row * columns;
  const DecodeRange range{first_row, rows, 0, columns};
  if (header.order == CodeOrder::kAsShape) {
    DecodeToFp16(header.layout, codes, range, out);
    return;
  }
  std::vector<uint16_t> in_code_order(static_cast<size_t>(rows * columns));
  DecodeToFp16(header.layout, codes, range, in_code_order.data());
  TakeChannelsFirst(header, in_code_order.data(), out, rows);
}

}  // namespace

Result<DenseFileReport> WriteDenseWeights(const PackedCheckpoint& checkpoint,
                                          const std::string& path, const ParallelFor& parallel_for,
                                          const std::function<bool(int64_t)>& progress) {
  constexpr int64_t kRowsGrain = 16;
  std::vector<StoredTensor> tensors;
  int64_t end_bytes = 0;
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    tensors.push_back(DenseTensor(tensor));
    tensors.back().offset_bytes = end_bytes;
    end_bytes += tensors.back().size_bytes;
  }
  TF_ASSIGN_OR_RETURN(const std::unique_ptr<NewFile> file, NewFile::Create(path));
  DenseFileReport report;
  Sha256 sha256;
  const auto append = [&](const void* bytes, int64_t size_bytes) {
    sha256.Update(bytes, static_cast<size_t>(size_bytes));
    const int64_t at_bytes = report.bytes;
    report.bytes += size_bytes;
    return file->WriteAt(at_bytes, bytes, size_bytes);
  };
  const std::string start = SafetensorsStart(tensors);
  TF_RETURN_IF_ERROR(append(start.data(), std::ssize(start)));
  ScratchBuffer stored;
  ScratchBuffer values;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const CheckpointTensor& tensor = checkpoint.tensors()[i];
    stored.Reserve(tensor.stored.size_bytes);
    TF_RETURN_IF_ERROR(checkpoint.Read(tensor, stored.data()));
    const uint8_t* bytes = stored.data();
    if (tensor.is_packed()) {
      const PackedHeader header = tensor.header();
      values.Reserve(tensors[i].size_bytes);
      auto* const fp16 = reinterpret_cast<uint16_t*>(values.data());
      const auto decode = [&](int64_t begin, int64_t end) {
        DecodeRows(header, stored.data(), begin, end - begin, fp16);
      };
      if (parallel_for) {
        parallel_for(header.layout.rows, kRowsGrain, decode);
      } else {
        decode(0, header.layout.rows);
      }
      bytes = values.data();
      ++report.decoded_module_count;
    }
    TF_RETURN_IF_ERROR(append(bytes, tensors[i].size_bytes));
    if (progress && !progress(tensor.stored.size_bytes)) return PackingStopped();
  }
  report.sha256 = sha256.HexDigest();
  TF_RETURN_IF_ERROR(file->Commit());
  return report;
}

}  // namespace tightfit
