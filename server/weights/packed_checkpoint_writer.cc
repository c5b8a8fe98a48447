#include "server/weights/packed_checkpoint_writer.h"

#include "kernels/packed_header.h"
#include "server/base/component_formats.h"
#include "server/model/model_errors.h"
#include "server/model/sha256.h"
#include "server/weights/new_file.h"
#include "server/weights/packed_checkpoint.h"
#include "server/weights/safetensors_text.h"
#include "server/weights/scratch_buffer.h"
#include "server/weights/weight_encoding.h"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <utility>

namespace tightfit {
namespace {

constexpr int64_t kStartBorderBytes = 64;
constexpr int64_t kRereadBytes = 4 << 20;
// Less is hashed before a thread would have begun.
constexpr int64_t kWorthAThreadBytes = 1 << 20;

StoredTensor CodesOf(const std::string& name, int64_t size_bytes) {
  return {.name = name,
          .dtype = StoredDtype::kU8,
          .shape = {size_bytes},
          .element_count = size_bytes,
          .size_bytes = size_bytes};
}

StoredTensor IndexTensor(std::string_view name, int64_t rows, int64_t row_bytes) {
  StoredTensor tensor = CodesOf(std::string(name), rows * row_bytes);
  tensor.shape = {rows, row_bytes};
  return tensor;
}

// Where the first weight begins, whatever comes of those that `table` packs: the header that says
// the most, and the index.
int64_t PayloadStart(const WeightTable& table) {
  constexpr int64_t kLargeBytes = int64_t{1} << 40;
  std::vector<StoredTensor> tensors = {IndexTensor(kPackedHeadersName, kLargeBytes, 1),
                                       IndexTensor(kPackedDigestsName, kLargeBytes, 1)};
  int64_t index_bytes = 0;
  for (const WeightEntry& entry : table.entries()) {
    tensors.push_back(entry.tensor);
    tensors.back().offset_bytes = kLargeBytes;
    tensors.back().size_bytes = kLargeBytes;
    // At least as long as the entry of codes.
    if (entry.format.has_value()) tensors.back().shape.push_back(kLargeBytes);
    index_bytes += kPackedDigestBytes + (entry.format.has_value() ? kPackedHeaderBytes : 0);
  }
  const int64_t bytes = std::ssize(SafetensorsStart(tensors)) + index_bytes;
  return (bytes + kStartBorderBytes - 1) / kStartBorderBytes * kStartBorderBytes;
}

class CheckpointWriting {
 public:
  CheckpointWriting(const SafetensorsFile& source, const WeightTable& table, NewFile* file,
                    const ParallelFor& parallel_for, const std::function<bool(int64_t)>& progress)
      : source_(source),
        table_(table),
        file_(*file),
        parallel_for_(parallel_for),
        progress_(progress),
        payload_start_bytes_(PayloadStart(table)) {}

  Result<PackedFileReport> Run(const std::string& source_sha256) {
    source_digest_.Update(source_.header_bytes().data(), source_.header_bytes().size());
    ReserveBuffers();
    for (const WeightEntry& entry : table_.entries()) {
      TF_RETURN_IF_ERROR(Put(entry));
      if (progress_ && !progress_(entry.tensor.size_bytes)) return PackingStopped();
    }
    report_.original_sha256 = source_digest_.HexDigest();
    if (report_.original_sha256 != source_sha256) {
      return ChecksumMismatch(source_.name(), source_sha256, report_.original_sha256);
    }
    TF_RETURN_IF_ERROR(WriteStart());
    TF_RETURN_IF_ERROR(HashFile());
    TF_RETURN_IF_ERROR(file_.Commit());
    return std::move(report_);
  }

 private:
  void ReserveBuffers() {
    const TableScratch scratch = TableScratchOf(table_);
    values_.Reserve(scratch.tensor_bytes);
    fp16_.Reserve(scratch.encoding.fp16_bytes);
    channels_last_.Reserve(scratch.encoding.channels_last_bytes);
  }

  Status Put(const WeightEntry& entry) {
    const StoredTensor& tensor = entry.tensor;
    TF_RETURN_IF_ERROR(
        source_.reader().ReadAt(tensor.offset_bytes, tensor.size_bytes, values_.data()));
    const auto hash = [&] {
      source_digest_.Update(values_.data(), static_cast<size_t>(tensor.size_bytes));
    };
    std::jthread hashing;  // ends before this call does
    if (tensor.size_bytes < kWorthAThreadBytes) {
      hash();
    } else {
      hashing = std::jthread(hash);
    }
    report_.weight_count += tensor.element_count;
    std::string why_dense = entry.why_dense;
    if (entry.format.has_value()) {
      TF_ASSIGN_OR_RETURN(why_dense, Pack(entry));
      if (why_dense.empty()) return OkStatus();
    }
    if (!why_dense.empty()) {
      report_.dense_modules.push_back({std::string(ModuleOf(tensor.name)), std::move(why_dense)});
    }
    return Append(tensor, values_.data()).status();
  }

  // Why not; empty once it is.
  Result<std::string> Pack(const WeightEntry& entry) {
    const StoredTensor& tensor = entry.tensor;
    if (!PackedRowsAndColumns(tensor.shape).has_value()) {
      return std::string("its shape is none that can be packed");
    }
    const WeightEncoding encoding(entry, values_.data(), fp16_.data(), channels_last_.data(),
                                  parallel_for_);
    if (!encoding.why_not().empty()) return encoding.why_not();
    const PackedLayout& layout = encoding.layout();
    codes_.Reserve(layout.total_bytes);
    encoding.Encode(codes_.data());

    PackedHeader header{.rank = static_cast<int>(tensor.shape.size()), .layout = layout};
    std::ranges::copy(tensor.shape, header.shape.begin());
    if (EncodingScratchOf(entry).channels_last_bytes > 0) header.order = CodeOrder::kChannelsLast;
    TF_ASSIGN_OR_RETURN(header.sha256,
                        Append(CodesOf(tensor.name, layout.total_bytes), codes_.data()));
    std::array<uint8_t, kPackedHeaderBytes> bytes;
    SerializePackedHeader(header, bytes);
    headers_.insert(headers_.end(), bytes.begin(), bytes.end());
    report_.packed_weight_count += tensor.element_count;
    report_.packed_bytes += layout.total_bytes;
    report_.packed_module_count += 1;
    is_mixed_ = is_mixed_ || (format_.has_value() && *format_ != *entry.format);
    format_ = entry.format;
    return std::string();
  }

  // Returns the digest of the bytes.
  Result<std::array<uint8_t, kPackedDigestBytes>> Append(StoredTensor tensor, const void* bytes) {
    tensor.offset_bytes = payload_bytes_;
    TF_RETURN_IF_ERROR(
        file_.WriteAt(payload_start_bytes_ + payload_bytes_, bytes, tensor.size_bytes));
    payload_bytes_ += tensor.size_bytes;
    Sha256 sha256;
    sha256.Update(bytes, static_cast<size_t>(tensor.size_bytes));
    const std::array<uint8_t, kPackedDigestBytes> digest = sha256.Digest();
    digests_.insert(digests_.end(), digest.begin(), digest.end());
    tensors_.push_back(std::move(tensor));
    return digest;
  }

  Status WriteStart() {
    const int64_t index_bytes = std::ssize(headers_) + std::ssize(digests_);
    std::vector<StoredTensor> all = {
        IndexTensor(kPackedHeadersName, report_.packed_module_count, kPackedHeaderBytes),
        IndexTensor(kPackedDigestsName, std::ssize(tensors_), kPackedDigestBytes)};
    all[1].offset_bytes = all[0].size_bytes;
    for (StoredTensor& tensor : tensors_) {
      tensor.offset_bytes += index_bytes;
      all.push_back(std::move(tensor));
    }
    start_ = SafetensorsStart(all, payload_start_bytes_ - index_bytes);
    start_.append(headers_.begin(), headers_.end());
    start_.append(digests_.begin(), digests_.end());
    report_.index_sha256 = Sha256::HexDigestOf(start_);
    return file_.WriteAt(0, start_.data(), std::ssize(start_));
  }

  // The file's own digest begins with what was written last.
  Status HashFile() {
    report_.bytes = payload_start_bytes_ + payload_bytes_;
    report_.format = is_mixed_             ? kMixedFormat
                     : format_.has_value() ? std::string(InfoOf(*format_).name)
                                           : kUnpackedFormat;
    Sha256 sha256;
    sha256.Update(start_.data(), start_.size());
    values_.Reserve(std::min(kRereadBytes, payload_bytes_));
    for (int64_t done = payload_start_bytes_; done < report_.bytes; done += kRereadBytes) {
      const int64_t piece_bytes = std::min(kRereadBytes, report_.bytes - done);
      TF_RETURN_IF_ERROR(file_.ReadAt(done, values_.data(), piece_bytes));
      sha256.Update(values_.data(), static_cast<size_t>(piece_bytes));
      if (progress_ && !progress_(0)) return PackingStopped();
    }
    report_.sha256 = sha256.HexDigest();
    return OkStatus();
  }

  const SafetensorsFile& source_;
  const WeightTable& table_;
  NewFile& file_;
  const ParallelFor parallel_for_;
  const std::function<bool(int64_t)>& progress_;
  const int64_t payload_start_bytes_;
  Sha256 source_digest_;
  ScratchBuffer values_;
  ScratchBuffer fp16_;
  ScratchBuffer channels_last_;
  ScratchBuffer codes_;
  std::string start_;
  std::vector<uint8_t> headers_;
  std::vector<uint8_t> digests_;
  std::vector<StoredTensor> tensors_;  // offsets from payload_start_bytes_
  int64_t payload_bytes_ = 0;
  std::optional<WeightFormat> format_;  // of the last weight that was packed
  bool is_mixed_ = false;
  PackedFileReport report_;
};

}  // namespace

Status PackingStopped() {
  return {StatusCode::kCancelled, "PACKING_STOPPED", "it was stopped before all was written"};
}

Result<PackedFileReport> WritePackedCheckpoint(const SafetensorsFile& source,
                                               const std::string& source_sha256,
                                               const WeightTable& table, const std::string& path,
                                               const ParallelFor& parallel_for,
                                               const std::function<bool(int64_t)>& progress) {
  if (std::ssize(table.entries()) > kMaxSafetensorsTensors - 2) {
    return BadModelDirectory(source.name(), "it has too many tensors for a packed checkpoint");
  }
  for (const StoredTensor& tensor : source.tensors()) {
    if (tensor.name == kPackedHeadersName || tensor.name == kPackedDigestsName) {
      return BadModelDirectory(source.name(), "it is a packed checkpoint's; unpack it first");
    }
  }
  if (PayloadStart(table) > kMaxSafetensorsHeaderBytes) {
    return BadModelDirectory(source.name(), "its header is too long for a packed checkpoint");
  }
  TF_ASSIGN_OR_RETURN(const std::unique_ptr<NewFile> file, NewFile::Create(path));
  return CheckpointWriting(source, table, file.get(), parallel_for, progress).Run(source_sha256);
}

}  // namespace tightfit
