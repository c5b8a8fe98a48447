// Where the images go: names, and files that are either whole or not there.
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
  // Checks before any work is asked for that images can be written. `output`:
  //   absent            tightfit-SEED.png in the current folder
  //   a folder, or "…/" tightfit-SEED.png in it; made if its parent exists
  //   a file            that file, overwritten, or what a link of that name leads to; with several
  //                     images NAME-1.png, NAME-2.png ...
  //   a device, a FIFO  written into, several images one after the other; never replaced
  //   "-"               stdout
  // A name of our own choosing gets a number added rather than replace a file.
  static Result<ImageFiles> Create(const std::optional<std::string>& output);

  // The images themselves are what goes to stdout: nothing else may.
  bool is_stdout() const { return is_stdout_; }

  // Writes a file through a temporary one in the same folder. Returns the path as it was given.
  Result<std::string> Write(const client::Image& image, int32_t image_count) const;

 private:
  ImageFiles() = default;

  std::filesystem::path folder_;  // "" is the current one
  std::filesystem::path file_;    // "" names by seed
  std::filesystem::path stream_;  // what is no file; "" if files are written
  bool is_stdout_ = false;
};

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_IMAGE_FILES_H_
