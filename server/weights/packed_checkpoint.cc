#include "server/weights/packed_checkpoint.h"

#include "server/model/model_errors.h"
#include "server/model/sha256.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

namespace tightfit {
namespace {

// A piece is hashed while it is in the cache.
constexpr int64_t kPieceBytes = 1 << 20;
constexpr int64_t kMaxIndexBytes =
    kMaxSafetensorsTensors * (kPackedHeaderBytes + kPackedDigestBytes);

Status BadIndex(const SafetensorsFile& file, const std::string& problem) {
  return BadModelDirectory(file.name(),
                           "the index of packed weights: " + problem + "; pack the model again");
}

// `row_bytes` x rows of U8, the `at`-th tensor of the file.
Status CheckIndexTensor(const SafetensorsFile& file, size_t at, std::string_view name,
                        int64_t row_bytes) {
  const std::string quoted = "\"" + std::string(name) + "\"";
  if (file.tensors().size() <= at || file.tensors()[at].name != name) {
    return BadIndex(file, quoted + " is not where it must be");
  }
  const StoredTensor& tensor = file.tensors()[at];
  if (tensor.dtype != StoredDtype::kU8 || tensor.shape.size() != 2 ||
      tensor.shape[1] != row_bytes) {
    return BadIndex(file, quoted + " must be U8 of rows of " + std::to_string(row_bytes));
  }
  return OkStatus();
}

Status CheckHeader(const SafetensorsFile& file, const CheckpointTensor& tensor,
                   std::span<const uint8_t> bytes) {
  PackedHeader header;
  const PackedHeaderError error = ParsePackedHeader(bytes, std::nullopt, &header);
  const std::string quoted = "\"" + tensor.stored.name + "\"";
  if (error != PackedHeaderError::kNone) {
    return BadIndex(file, quoted + ": " + std::string(PackedHeaderErrorText(error)));
  }
  if (header.layout.total_bytes != tensor.stored.size_bytes ||
      !std::ranges::equal(header.sha256, tensor.sha256())) {
    return BadIndex(file, quoted + " is not the tensor of its header");
  }
  return OkStatus();
}

}  // namespace

PackedHeader CheckpointTensor::header() const {
  PackedHeader header;
  ParsePackedHeader(std::span(header_bytes_, size_t{kPackedHeaderBytes}), std::nullopt, &header);
  return header;
}

std::vector<int64_t> CheckpointTensor::shape() const {
  if (!is_packed()) return stored.shape;
  const PackedHeader packed = header();
  return {packed.shape.begin(), packed.shape.begin() + packed.rank};
}

Result<std::unique_ptr<PackedCheckpoint>> PackedCheckpoint::Open(const std::string& path,
                                                                 std::string name,
                                                                 const std::string& index_sha256) {
  std::unique_ptr<PackedCheckpoint> checkpoint(new PackedCheckpoint);
  TF_ASSIGN_OR_RETURN(checkpoint->file_, SafetensorsFile::Open(path, std::move(name),
                                                               AllowedDtypes::kNumbersAndBytes));
  TF_RETURN_IF_ERROR(checkpoint->ReadIndex(index_sha256));
  return checkpoint;
}

Status PackedCheckpoint::ReadIndex(const std::string& index_sha256) {
  const SafetensorsFile& file = *file_;
  TF_RETURN_IF_ERROR(CheckIndexTensor(file, 0, kPackedHeadersName, kPackedHeaderBytes));
  TF_RETURN_IF_ERROR(CheckIndexTensor(file, 1, kPackedDigestsName, kPackedDigestBytes));
  const std::span<const StoredTensor> weights = std::span(file.tensors()).subspan(2);
  const auto packed_count = std::ranges::count(weights, StoredDtype::kU8, &StoredTensor::dtype);
  const StoredTensor& headers = file.tensors()[0];
  const StoredTensor& digests = file.tensors()[1];
  if (headers.shape[0] != packed_count ||
      digests.shape[0] != static_cast<int64_t>(weights.size())) {
    return BadIndex(file, "it is of another number of tensors");
  }
  const int64_t index_bytes = headers.size_bytes + digests.size_bytes;
  if (index_bytes > kMaxIndexBytes) return BadIndex(file, "it is too large");

  Sha256 sha256;
  sha256.Update(file.header_bytes().data(), file.header_bytes().size());
  file_->ReleaseHeaderBytes();
  index_.resize(static_cast<size_t>(index_bytes));
  TF_RETURN_IF_ERROR(file.reader().ReadAt(headers.offset_bytes, index_bytes, index_.data()));
  sha256.Update(index_.data(), index_.size());
  const std::string found = sha256.HexDigest();
  if (found != index_sha256) return ChecksumMismatch(file.name(), index_sha256, found);

  const uint8_t* next_header = index_.data();
  const uint8_t* next_digest = index_.data() + headers.size_bytes;
  tensors_.reserve(weights.size());
  for (const StoredTensor& stored : weights) {
    const bool is_packed = stored.dtype == StoredDtype::kU8;
    tensors_.emplace_back(stored, is_packed ? next_header : nullptr, next_digest);
    next_digest += kPackedDigestBytes;
    if (!is_packed) continue;
    TF_RETURN_IF_ERROR(
        CheckHeader(file, tensors_.back(), std::span(next_header, size_t{kPackedHeaderBytes})));
    next_header += kPackedHeaderBytes;
  }
  return OkStatus();
}

Status PackedCheckpoint::Read(const CheckpointTensor& tensor, void* out) const {
  auto* const bytes = static_cast<uint8_t*>(out);
  const int64_t size_bytes = tensor.stored.size_bytes;
  Sha256 sha256;
  for (int64_t done = 0; done < size_bytes; done += kPieceBytes) {
    const int64_t piece = std::min(kPieceBytes, size_bytes - done);
    TF_RETURN_IF_ERROR(
        file_->reader().ReadAt(tensor.stored.offset_bytes + done, piece, bytes + done));
    sha256.Update(bytes + done, static_cast<size_t>(piece));
  }
  if (std::ranges::equal(sha256.Digest(), tensor.sha256())) return OkStatus();
  return {StatusCode::kDataLoss, "CHECKSUM_MISMATCH",
          name() + ": the SHA-256 of \"" + Shown(tensor.stored.name) +
              "\" is not the one of its index"};
}

}  // namespace tightfit
