#include "client/cli/output_target.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>
#include <system_error>

namespace tightfit::cli {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxLinks = 40;  // as Linux

// /proc/self/fd/1 and its kin are links to what is open, which has other rules than a name.
bool IsOpenFile(const fs::path& path) {
  const std::string text = path.lexically_normal().string();
  return text.starts_with("/dev/fd/") ||
         (text.starts_with("/proc/") && text.find("/fd/") != std::string::npos);
}

bool IsStdout(const fs::path& path) {
  struct stat there = {};
  struct stat open = {};
  return stat(path.c_str(), &there) == 0 && fstat(STDOUT_FILENO, &open) == 0 &&
         there.st_dev == open.st_dev && there.st_ino == open.st_ino;
}

}  // namespace

Status CannotWrite(const fs::path& path, std::string_view problem) {
  return {StatusCode::kFailedPrecondition, "CANNOT_WRITE",
          "cannot write " + path.string() + ": " + std::string(problem)};
}

Result<OutputTarget> ResolveOutput(const fs::path& path) {
  OutputTarget target{.path = path};
  std::error_code error;
  for (int links = 0; fs::is_symlink(fs::symlink_status(target.path, error)); ++links) {
    if (IsOpenFile(target.path)) {
      target.is_stream = true;
      break;
    }
    const fs::path next = fs::read_symlink(target.path, error);
    if (error || links == kMaxLinks) return CannotWrite(path, std::strerror(ELOOP));
    target.path = target.path.parent_path() / next;  // an absolute one stands alone
  }
  const fs::file_status status = fs::status(target.path, error);
  if (fs::exists(status) && !fs::is_regular_file(status) && !fs::is_directory(status)) {
    target.is_stream = true;
  }
  target.is_stdout = target.is_stream && IsStdout(target.path);
  return target;
}

Status WriteIntoStream(const fs::path& path, std::string_view content) {
  const int file = open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY);
  if (file < 0) return CannotWrite(path, std::strerror(errno));
  int error = 0;
  while (!content.empty() && error == 0) {
    const ssize_t written = write(file, content.data(), content.size());
    if (written >= 0) {
      content.remove_prefix(static_cast<size_t>(written));
    } else if (errno != EINTR) {
      error = errno;
    }
  }
  if (close(file) != 0 && error == 0) error = errno;
  return error == 0 ? OkStatus() : CannotWrite(path, std::strerror(error));
}

}  // namespace tightfit::cli
