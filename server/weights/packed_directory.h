// PackDirectory, UnpackDirectory: a model directory becomes a packed one, and the way back.
// deploy/export/MODEL_DIRECTORY.md, "Packed checkpoints". Free of LibTorch.
#ifndef TIGHTFIT_SERVER_WEIGHTS_PACKED_DIRECTORY_H_
#define TIGHTFIT_SERVER_WEIGHTS_PACKED_DIRECTORY_H_

#include "kernels/codec.h"
#include "server/base/component_formats.h"
#include "server/base/status.h"
#include "server/weights/directory_rewrite.h"
#include "server/weights/packed_checkpoint_writer.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tightfit {

// An interrupted run keeps what would take long to make again.
inline constexpr int64_t kWorthKeepingBytes = 256 << 20;

struct DirectoryPacking {
  std::string model;
  std::string out;
  ComponentFormats formats;          // names of kernels/format.h and of scopes, or kUnpackedFormat
  std::vector<std::string> exclude;  // of the UNet, as the server's
  // Each layer of the UNet in a format of its own, from the model's sensitivity.json;
  // formats["unet"] is kUnpackedFormat then. The weights of all components take at most so many
  // MiB, those that are not packed counted in 16 bits; or the fewest with which images are expected
  // to come so near to those of unpacked weights. At most one of both.
  std::optional<double> budget_mib;
  std::optional<double> min_psnr_db;
  std::string version;  // of this program: another one's files are made again
  int64_t worth_keeping_bytes = kWorthKeepingBytes;
};

struct PackedComponent {
  std::string name;
  ComponentFormat asked;
  int64_t original_bytes = 0;
  PackedFileReport file;
  bool was_finished = false;  // by an earlier run
};

struct DirectoryPackingReport {
  std::string hash;  // of the model; packing does not change it
  std::vector<PackedComponent> components;
  // Where layers have formats of their own: of images, beside those of unpacked weights.
  std::optional<double> predicted_psnr_db;
};

// Makes `out`, whole or not at all. Where a run of the same model, formats and version was
// interrupted, its finished weight files are checked and taken over. All errors leave nothing
// behind but PACKING_STOPPED, whose message says what it left. Errors: ReadModelDirectory's,
// CheckPacking's, WritePackedCheckpoint's; ALREADY_PACKED; DISK_FULL; CANNOT_WRITE.
Result<DirectoryPackingReport> PackDirectory(const DirectoryPacking& packing,
                                             const ParallelFor& parallel_for,
                                             const DirectoryProgress& progress);

struct UnpackedComponent {
  std::string name;
  std::string format;  // that it was packed in
  int64_t packed_bytes = 0;
  int64_t bytes = 0;
  int64_t decoded_module_count = 0;
  bool is_original = false;  // its file is the one that was packed, bit for bit
};

struct DirectoryUnpackingReport {
  std::string hash;           // of the new directory
  std::string original_hash;  // of the packed one, and of the one that it was made from
  std::vector<UnpackedComponent> components;
  bool is_original() const;
};

// Makes `out` of the packed directory `model`, whole or not at all: weights in fp16, those that
// were packed decoded. Errors: as PackDirectory; NOT_PACKED.
Result<DirectoryUnpackingReport> UnpackDirectory(const std::string& model, const std::string& out,
                                                 const ParallelFor& parallel_for,
                                                 const DirectoryProgress& progress);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_PACKED_DIRECTORY_H_
