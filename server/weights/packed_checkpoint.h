// PackedCheckpoint: the weight file of one component, packed once and for all (by tightfit pack),
// so that a load is a read. deploy/export/MODEL_DIRECTORY.md, "Packed checkpoints", specifies it:
// a safetensors file whose first two tensors, its index, tell of all others how they are packed and
// what their SHA-256 is. model.json has the SHA-256 of all bytes up to the end of the index, so
// that every tensor can be checked by itself, by any thread. Free of LibTorch.
//
//   TF_ASSIGN_OR_RETURN(auto checkpoint, PackedCheckpoint::Open(path, "unet.safetensors", digest));
//   for (const CheckpointTensor& tensor : checkpoint->tensors()) {
//     buffer of tensor.stored.size_bytes
//     TF_RETURN_IF_ERROR(checkpoint->Read(tensor, buffer));
//   }
#ifndef TIGHTFIT_SERVER_WEIGHTS_PACKED_CHECKPOINT_H_
#define TIGHTFIT_SERVER_WEIGHTS_PACKED_CHECKPOINT_H_

#include "kernels/packed_header.h"
#include "server/base/status.h"
#include "server/model/safetensors.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tightfit {

// The index: first tensors of the file, in this order. Both are left out of tensors().
//   kPackedHeadersName: U8 [P, 128], a kernels/packed_header.h for each tensor of type U8
//   kPackedDigestsName: U8 [T, 32], the SHA-256 of each tensor, in file order
inline constexpr std::string_view kPackedHeadersName = "tightfit.headers";
inline constexpr std::string_view kPackedDigestsName = "tightfit.sha256";
inline constexpr int64_t kPackedDigestBytes = 32;

// Loads read this much at once, or one larger tensor.
inline constexpr int64_t kReadBatchBytes = 64 << 20;

// One weight of a checkpoint, which it must not outlive.
class CheckpointTensor {
 public:
  // `header_bytes`: kPackedHeaderBytes that were checked, null of a tensor that is not packed;
  // `sha256`: kPackedDigestBytes.
  CheckpointTensor(const StoredTensor& in_file, const uint8_t* header_bytes, const uint8_t* sha256)
      : stored(in_file), header_bytes_(header_bytes), sha256_(sha256) {}

  const StoredTensor& stored;  // as it lies in the file: packed ones are U8 [total_bytes]

  bool is_packed() const { return header_bytes_ != nullptr; }
  // Read out of its bytes. Requires is_packed().
  PackedHeader header() const;
  std::span<const uint8_t, kPackedDigestBytes> sha256() const {
    return std::span<const uint8_t, kPackedDigestBytes>(sha256_, kPackedDigestBytes);
  }
  // Of the dense tensor.
  std::vector<int64_t> shape() const;

 private:
  const uint8_t* header_bytes_;
  const uint8_t* sha256_;
};

// An open file whose index was checked. Thread-safe.
class PackedCheckpoint {
 public:
  // `index_sha256`: what model.json says. Errors: SafetensorsFile::Open's; BAD_MODEL_DIRECTORY for
  // an index that does not fit the tensors; CHECKSUM_MISMATCH. Reads no more than header and index,
  // and holds at most twice their bytes.
  static Result<std::unique_ptr<PackedCheckpoint>> Open(const std::string& path, std::string name,
                                                        const std::string& index_sha256);

  const std::string& name() const { return file_->name(); }
  int64_t size_bytes() const { return file_->size_bytes(); }
  // In file order.
  const std::vector<CheckpointTensor>& tensors() const { return tensors_; }

  // Reads a tensor's bytes and checks them. `out`: stored.size_bytes. Errors: DATA_LOSS
  // FILE_TRUNCATED; CHECKSUM_MISMATCH naming the tensor.
  Status Read(const CheckpointTensor& tensor, void* out) const;

 private:
  PackedCheckpoint() = default;
  Status ReadIndex(const std::string& index_sha256);

  std::unique_ptr<SafetensorsFile> file_;
  std::vector<uint8_t> index_;  // headers, then digests, as they are in the file
  std::vector<CheckpointTensor> tensors_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_PACKED_CHECKPOINT_H_
