// FileReader: ranges of a regular file by pread. Model files are never mapped: reading a mapping
// counts as the process's own memory, and a file cut off while mapped kills the process.
#ifndef TIGHTFIT_SERVER_MODEL_FILE_READER_H_
#define TIGHTFIT_SERVER_MODEL_FILE_READER_H_

#include "server/base/status.h"

#include <cstdint>
#include <memory>
#include <string>

namespace tightfit {

// Thread-safe once open.
class FileReader {
 public:
  // `name` is what messages call the file. Errors: FILE_MISSING, also for anything but a regular
  // file.
  static Result<std::unique_ptr<FileReader>> Open(const std::string& path, std::string name);
  ~FileReader();
  FileReader(const FileReader&) = delete;
  FileReader& operator=(const FileReader&) = delete;

  // Fills `out` with exactly the bytes [offset_bytes, offset_bytes + size_bytes). Errors:
  // FILE_TRUNCATED when the file ends before; FILE_MISSING when the system fails to read.
  Status ReadAt(int64_t offset_bytes, int64_t size_bytes, void* out) const;

  const std::string& name() const { return name_; }
  int64_t size_bytes() const { return size_bytes_; }  // when it was opened

 private:
  FileReader(int descriptor, std::string path, std::string name, int64_t size_bytes)
      : descriptor_(descriptor),
        path_(std::move(path)),
        name_(std::move(name)),
        size_bytes_(size_bytes) {}

  const int descriptor_;
  const std::string path_;
  const std::string name_;
  const int64_t size_bytes_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_MODEL_FILE_READER_H_
