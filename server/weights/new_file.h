// NewFile: a file that is there whole or not at all.
#ifndef TIGHTFIT_SERVER_WEIGHTS_NEW_FILE_H_
#define TIGHTFIT_SERVER_WEIGHTS_NEW_FILE_H_

#include "server/base/status.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace tightfit {

// FAILED_PRECONDITION `CANNOT_WRITE`: "cannot write PATH: PROBLEM".
Status CannotWriteFile(const std::string& path, std::string_view problem);

// Bytes go to a hidden file beside `path`, which takes its name once they are on the disk. A file
// that is not committed leaves nothing behind. Not thread-safe. Errors: CANNOT_WRITE.
class NewFile {
 public:
  static Result<std::unique_ptr<NewFile>> Create(const std::string& path);
  ~NewFile();
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  Status WriteAt(int64_t offset_bytes, const void* bytes, int64_t size_bytes);
  // Of what was written. Errors: CANNOT_WRITE too.
  Status ReadAt(int64_t offset_bytes, void* bytes, int64_t size_bytes) const;
  // Replaces what has the name; SyncDirectory makes that last. Nothing may be written afterwards.
  Status Commit();

 private:
  explicit NewFile(std::string path) : path_(std::move(path)) {}
  Status Fail(int error) const;

  const std::string path_;
  std::string temporary_;  // empty: there is none
  int descriptor_ = -1;
};

// What a rename or a new file in it means is on the disk after this. Errors: CANNOT_WRITE.
Status SyncDirectory(const std::string& path);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_NEW_FILE_H_
