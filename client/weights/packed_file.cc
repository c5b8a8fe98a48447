#include "client/weights/packed_file.h"

#include "client/weights/input_file.h"
#include "server/model/sha256.h"

#include <algorithm>
#include <array>
#include <memory>

namespace tightfit::weights {
namespace {

std::array<uint8_t, 32> Sha256BytesOf(std::span<const uint8_t> bytes) {
  Sha256 sha256;
  sha256.Update(bytes.data(), bytes.size());
  return sha256.Digest();
}

}  // namespace

Result<PackedTensor> ReadPackedFile(const std::string& path) {
  TF_ASSIGN_OR_RETURN(const std::unique_ptr<FileReader> file, OpenInput(path));
  std::array<uint8_t, kPackedHeaderBytes> start = {};
  const int64_t start_bytes = std::min(file->size_bytes(), kPackedHeaderBytes);
  if (Status read = file->ReadAt(0, start_bytes, start.data()); !read.ok()) {
    return AsInputError(read);
  }
  PackedTensor tensor;
  const PackedHeaderError error =
      ParsePackedHeader(std::span<const uint8_t>(start).first(static_cast<size_t>(start_bytes)),
                        file->size_bytes(), &tensor.header);
  if (error != PackedHeaderError::kNone) {
    return Status(StatusCode::kDataLoss, "BAD_PACKED_FILE",
                  path + ": " + std::string(PackedHeaderErrorText(error)));
  }
  if (tensor.header.order != CodeOrder::kAsShape) {
    return Status(StatusCode::kDataLoss, "BAD_PACKED_FILE",
                  path +
                      ": its codes are in the order of a packed checkpoint; unpack the model "
                      "with tightfit pack --unpack");
  }
  tensor.bytes.resize(static_cast<size_t>(tensor.header.layout.total_bytes));
  if (Status read =
          file->ReadAt(kPackedHeaderBytes, tensor.header.layout.total_bytes, tensor.bytes.data());
      !read.ok()) {
    return AsInputError(read);
  }
  if (Sha256BytesOf(tensor.bytes) != tensor.header.sha256) {
    return Status(StatusCode::kDataLoss, "CHECKSUM_MISMATCH",
                  path +
                      ": its SHA-256 is not the one of its header: the file is damaged, encode "
                      "it again");
  }
  return tensor;
}

Status WritePackedTensor(std::span<const int64_t> shape, const PackedLayout& layout,
                         std::span<const uint8_t> packed, OutputFile& file) {
  PackedHeader header{.rank = static_cast<int>(shape.size()), .layout = layout};
  std::copy(shape.begin(), shape.end(), header.shape.begin());
  header.sha256 = Sha256BytesOf(packed);
  std::array<uint8_t, kPackedHeaderBytes> bytes;
  SerializePackedHeader(header, bytes);
  TF_RETURN_IF_ERROR(file.Write(bytes.data(), bytes.size()));
  return file.Write(packed.data(), packed.size());
}

}  // namespace tightfit::weights
