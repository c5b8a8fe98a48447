// What making one model directory of another takes, whatever is made of the weights.
#ifndef TIGHTFIT_SERVER_WEIGHTS_DIRECTORY_REWRITE_H_
#define TIGHTFIT_SERVER_WEIGHTS_DIRECTORY_REWRITE_H_

#include "server/base/status.h"
#include "server/model/model_directory.h"
#include "server/weights/new_file.h"
#include "server/weights/partial_directory.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace tightfit {

// What is being done, and how many bytes of how many are; false stops it.
using DirectoryProgress =
    std::function<bool(const std::string& what, int64_t done_bytes, int64_t all_bytes)>;

// Counts towards the whole.
class RewriteProgress {
 public:
  // `progress` may be empty.
  RewriteProgress(DirectoryProgress progress, int64_t all_bytes)
      : progress_(std::move(progress)), all_bytes_(all_bytes) {}

  void Begin(std::string what) { what_ = std::move(what); }
  // Whether it goes on.
  bool Add(int64_t bytes) {
    done_bytes_ += bytes;
    return !progress_ || progress_(what_, done_bytes_, all_bytes_);
  }
  std::function<bool(int64_t)> ForBytes() {
    return [this](int64_t bytes) { return Add(bytes); };
  }

 private:
  const DirectoryProgress progress_;
  const int64_t all_bytes_;
  std::string what_;
  int64_t done_bytes_ = 0;
};

// What goes over as it is: graphs and tokenizers.
std::vector<ListedFile> FilesBesideWeights(const ModelDirectory& model);

// A file of `to` that is begun, and the folder that it lies in. Errors: CANNOT_WRITE.
Result<std::unique_ptr<NewFile>> NewFileIn(const PartialDirectory& to, const std::string& file);

// Copies it to the same place, checking size and SHA-256 as it reads. Errors: as CheckListedFile;
// CANNOT_WRITE; PACKING_STOPPED.
Status CopyListedFile(const ModelDirectory& model, const ListedFile& file,
                      const PartialDirectory& to, RewriteProgress* progress);

// Writes model.json, and checks that it can be read.
Status WriteManifest(const std::string& text, const PartialDirectory& to);

// RESOURCE_EXHAUSTED `DISK_FULL` if `out` has no room for so much.
Status CheckDiskSpace(const std::string& out, int64_t needed_bytes);

// `status` with what became of `partial`, whose finished files are kept if they are worth it.
Status Interrupted(const Status& status, const std::string& out, int64_t worth_keeping_bytes,
                   PartialDirectory* partial);

// "4.1 GB".
std::string SizeText(int64_t bytes);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_DIRECTORY_REWRITE_H_
