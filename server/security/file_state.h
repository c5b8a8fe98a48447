// FileState: what tells a file from the one that stood there before.
#ifndef TIGHTFIT_SERVER_SECURITY_FILE_STATE_H_
#define TIGHTFIT_SERVER_SECURITY_FILE_STATE_H_

#include <sys/stat.h>

#include <cstdint>
#include <string>

namespace tightfit {

// Follows links, so that it also changes where a directory above the file is exchanged, as
// Kubernetes does. The state of a file that is not there equals no other.
struct FileState {
  bool exists = false;
  uint64_t device = 0;
  uint64_t inode = 0;
  int64_t size_bytes = 0;
  int64_t changed_seconds = 0;  // its content or its rights
  int64_t changed_nanoseconds = 0;

  bool operator==(const FileState&) const = default;
};

inline FileState ReadFileState(const std::string& path) {
  struct stat about {};
  if (::stat(path.c_str(), &about) != 0) return {};
  return {true,          about.st_dev,         about.st_ino,
          about.st_size, about.st_ctim.tv_sec, about.st_ctim.tv_nsec};
}

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_SECURITY_FILE_STATE_H_
