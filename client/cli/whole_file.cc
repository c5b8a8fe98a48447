#include "client/cli/whole_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace tightfit::cli {
namespace {

constexpr size_t kBlockBytes = 1 << 16;

Status CannotRead(const std::string& name, const std::string& problem) {
  return {StatusCode::kInvalidArgument, "CANNOT_READ", "cannot read " + name + ": " + problem};
}

std::string SizeText(size_t bytes) {
  constexpr size_t kMib = 1 << 20;
  if (bytes >= kMib && bytes % kMib == 0) return std::to_string(bytes / kMib) + " MiB";
  return std::to_string(bytes) + " bytes";
}

Result<std::string> ReadAll(int file, const std::string& name, size_t max_bytes) {
  std::string bytes;
  while (true) {
    const size_t size = bytes.size();
    bytes.resize(size + kBlockBytes);
    const ssize_t count = read(file, bytes.data() + size, kBlockBytes);
    bytes.resize(size + (count > 0 ? static_cast<size_t>(count) : 0));
    if (count == 0) return bytes;
    if (count < 0 && errno == EINTR) continue;
    if (count < 0)
      return CannotRead(name, errno == EISDIR ? "it is a folder" : std::strerror(errno));
    if (bytes.size() > max_bytes) {
      return CannotRead(name, "it is larger than " + SizeText(max_bytes));
    }
  }
}

}  // namespace

Result<std::string> ReadWholeFile(const std::string& path, size_t max_bytes) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY);
  if (file < 0) return CannotRead(path, std::strerror(errno));
  Result<std::string> bytes = ReadAll(file, path, max_bytes);
  close(file);
  if (bytes.ok() && bytes->empty()) return CannotRead(path, "it is empty");
  return bytes;
}

Result<std::string> ReadStdin(size_t max_bytes) {
  // A closed one was given a descriptor that cannot be read.
  const int flags = fcntl(STDIN_FILENO, F_GETFL);
  if (flags < 0 || (flags & O_ACCMODE) == O_WRONLY) return CannotRead("stdin", "it is closed");
  return ReadAll(STDIN_FILENO, "stdin", max_bytes);
}

}  // namespace tightfit::cli
