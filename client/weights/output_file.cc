#include "client/weights/output_file.h"

#include "client/cli/output_target.h"
#include "client/cli/temporary_files.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>

namespace tightfit::weights {
namespace {

namespace fs = std::filesystem;

}  // namespace

Result<std::unique_ptr<OutputFile>> OutputFile::Create(const std::string& path,
                                                       const std::string& input_path) {
  TF_ASSIGN_OR_RETURN(const cli::OutputTarget target, cli::ResolveOutput(path));
  std::error_code error;
  if (target.is_stream || fs::is_directory(target.path, error)) {
    return cli::CannotWrite(path, "it exists and is no regular file");
  }
  if (fs::exists(target.path, error) && fs::equivalent(target.path, input_path, error)) {
    return cli::CannotWrite(path, "it is the input");
  }
  const fs::path folder = target.path.parent_path();
  if (access(folder.empty() ? "." : folder.c_str(), W_OK | X_OK) != 0) {
    return cli::CannotWrite(path, std::strerror(errno));
  }
  return std::unique_ptr<OutputFile>(new OutputFile(target.path));
}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) close(descriptor_);
  if (temporary_.empty()) return;
  unlink(temporary_.c_str());
  cli::ForgetTemporary(temporary_);
}

Status OutputFile::Open() {
  std::string name = (path_.parent_path() / ".tightfit-XXXXXX").string();
  descriptor_ = mkostemp(name.data(), O_CLOEXEC);
  if (descriptor_ < 0) return Fail(errno);
  temporary_ = name;
  cli::TrackTemporary(temporary_);
  // mkostemp makes files private; this one gets what the user's umask allows.
  const mode_t mask = umask(0);
  umask(mask);
  return fchmod(descriptor_, 0666 & ~mask) == 0 ? OkStatus() : Fail(errno);
}

Status OutputFile::Write(const void* bytes, size_t size) {
  if (descriptor_ < 0) TF_RETURN_IF_ERROR(Open());
  const char* next = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t written = ::write(descriptor_, next, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Fail(errno);
    next += written;
    size -= static_cast<size_t>(written);
  }
  return OkStatus();
}

Status OutputFile::Commit() {
  if (descriptor_ < 0) TF_RETURN_IF_ERROR(Open());
  const int closed = close(descriptor_);
  descriptor_ = -1;
  if (closed != 0) return Fail(errno);  // file systems that tell only now that they are full
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) return Fail(errno);
  cli::ForgetTemporary(temporary_);
  temporary_.clear();
  return OkStatus();
}

Status OutputFile::Fail(int error) { return cli::CannotWrite(path_, std::strerror(error)); }

}  // namespace tightfit::weights
