// Where the pictures go: names, and files that are either whole or not there.
#ifndef TIGHTFIT_CLIENT_CLI_IMAGE_FILES_H_
#define TIGHTFIT_CLIENT_CLI_IMAGE_FILES_H_

#include "client/cpp/generation_types.h"
#include "server/base/status.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace tightfit::cli {

// Not thread-safe.
class ImageFiles {
 public:
  // Checks before any work is asked for that pictures can be written. `output`:
  //   absent            tightfit-SEED.png in the current folder
  //   a folder, or "…/" tightfit-SEED.png in it; made if its parent exists
  //   a file            that file, overwritten; with several pictures NAME-1.png, NAME-2.png ...
  // A name of our own choosing gets a number added rather than replace a file.
  static Result<ImageFiles> Create(const std::optional<std::string>& output);

  // Writes through a temporary file in the same folder. Returns the path.
  Result<std::string> Write(const client::Image& image, int32_t image_count) const;

 private:
  ImageFiles(std::filesystem::path folder, std::filesystem::path file)
      : folder_(std::move(folder)), file_(std::move(file)) {}

  std::filesystem::path folder_;  // "" is the current one
  std::filesystem::path file_;    // "" names by seed
};

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_IMAGE_FILES_H_
