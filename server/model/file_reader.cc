#include "server/model/file_reader.h"

#include "server/model/model_errors.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace tightfit {

Result<std::unique_ptr<FileReader>> FileReader::Open(const std::string& path, std::string name) {
  // O_NONBLOCK: opening a fifo must not wait for a writer.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return FileMissing(name, path + ": " + std::strerror(errno));
  struct stat status = {};
  if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor);
    return FileMissing(name, path + ": not a regular file");
  }
  return std::unique_ptr<FileReader>(
      new FileReader(descriptor, path, std::move(name), status.st_size));
}

FileReader::~FileReader() { ::close(descriptor_); }

Status FileReader::ReadAt(int64_t offset_bytes, int64_t size_bytes, void* out) const {
  auto* to = static_cast<char*>(out);
  while (size_bytes > 0) {
    // Linux moves at most 2 GiB a call.
    const ssize_t got = ::pread(descriptor_, to, static_cast<size_t>(size_bytes), offset_bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileMissing(name_, path_ + ": " + std::strerror(errno));
    if (got == 0) {
      return FileTruncated(name_, "the file ends after " + std::to_string(offset_bytes) +
                                      " bytes, within data that it should hold");
    }
    to += got;
    offset_bytes += got;
    size_bytes -= got;
  }
  return OkStatus();
}

}  // namespace tightfit
