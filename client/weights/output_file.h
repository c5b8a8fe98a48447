// A file that is written whole or not at all.
#ifndef TIGHTFIT_CLIENT_WEIGHTS_OUTPUT_FILE_H_
#define TIGHTFIT_CLIENT_WEIGHTS_OUTPUT_FILE_H_

#include "server/base/status.h"

#include <filesystem>
#include <memory>
#include <string>

namespace tightfit::weights {

// Bytes go to a temporary file beside `path`, which takes its name when all are there. A file that
// is not committed leaves nothing behind. Not thread-safe. Errors: CANNOT_WRITE.
class OutputFile {
 public:
  // Writes nothing yet, but fails where nothing could be written: long work is not done in vain.
  // Follows a link; refuses a `path` that is anything but a regular file, and the file
  // `input_path`.
  static Result<std::unique_ptr<OutputFile>> Create(const std::string& path,
                                                    const std::string& input_path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  Status Write(const void* bytes, size_t size);
  // Replaces what has the name. Nothing may be written afterwards.
  Status Commit();

 private:
  explicit OutputFile(std::filesystem::path path) : path_(std::move(path)) {}
  Status Open();
  Status Fail(int error);

  const std::filesystem::path path_;
  std::string temporary_;  // empty: there is none
  int descriptor_ = -1;
};

}  // namespace tightfit::weights

#endif  // TIGHTFIT_CLIENT_WEIGHTS_OUTPUT_FILE_H_
