#include "server/weights/new_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

namespace tightfit {

Status CannotWriteFile(const std::string& path, std::string_view problem) {
  return {StatusCode::kFailedPrecondition, "CANNOT_WRITE",
          "cannot write " + path + ": " + std::string(problem)};
}

Result<std::unique_ptr<NewFile>> NewFile::Create(const std::string& path) {
  std::unique_ptr<NewFile> file(new NewFile(path));
  const std::filesystem::path target(path);
  std::string name =
      (target.parent_path() / ("." + target.filename().string() + ".XXXXXX")).string();
  file->descriptor_ = mkostemp(name.data(), O_CLOEXEC);
  if (file->descriptor_ < 0) return file->Fail(errno);
  file->temporary_ = name;
  // mkostemp makes files private; this one gets what the user's umask allows.
  const mode_t mask = umask(0);
  umask(mask);
  if (fchmod(file->descriptor_, 0666 & ~mask) != 0) return file->Fail(errno);
  return file;
}

NewFile::~NewFile() {
  if (descriptor_ >= 0) close(descriptor_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

Status NewFile::WriteAt(int64_t offset_bytes, const void* bytes, int64_t size_bytes) {
  const char* from = static_cast<const char*>(bytes);
  while (size_bytes > 0) {
    const ssize_t put = pwrite(descriptor_, from, static_cast<size_t>(size_bytes), offset_bytes);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return Fail(errno);
    from += put;
    offset_bytes += put;
    size_bytes -= put;
  }
  return OkStatus();
}

Status NewFile::ReadAt(int64_t offset_bytes, void* bytes, int64_t size_bytes) const {
  char* to = static_cast<char*>(bytes);
  while (size_bytes > 0) {
    const ssize_t got = pread(descriptor_, to, static_cast<size_t>(size_bytes), offset_bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return Fail(got == 0 ? EIO : errno);
    to += got;
    offset_bytes += got;
    size_bytes -= got;
  }
  return OkStatus();
}

Status NewFile::Commit() {
  if (fsync(descriptor_) != 0) return Fail(errno);
  const int closed = close(descriptor_);
  descriptor_ = -1;
  if (closed != 0) return Fail(errno);
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) return Fail(errno);
  temporary_.clear();
  return OkStatus();
}

Status NewFile::Fail(int error) const { return CannotWriteFile(path_, std::strerror(error)); }

Status SyncDirectory(const std::string& path) {
  const std::string folder = path.empty() ? "." : path;
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return CannotWriteFile(folder, std::strerror(errno));
  // File systems that cannot do this for directories say EINVAL.
  const int error = fsync(descriptor) == 0 || errno == EINVAL ? 0 : errno;
  close(descriptor);
  return error == 0 ? OkStatus() : CannotWriteFile(folder, std::strerror(error));
}

}  // namespace tightfit
