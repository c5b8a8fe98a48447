#include "server/app/token_command.h"

#include "server/base/file_descriptor.h"
#include "server/config/config.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace tightfit {
namespace {

Status CannotAppend(const std::string& path) {
  return BadConfiguration("--append-to: " + path + ": " + std::strerror(errno));
}

// Whole lines only: what an editor left without an end of line gets one.
Status AppendLine(const std::string& path, int file, std::string line) {
  const off_t size = ::lseek(file, 0, SEEK_END);
  char last = '\n';
  if (size > 0 && ::pread(file, &last, 1, size - 1) == 1 && last != '\n') line.insert(0, "\n");
  line += '\n';
  errno = EIO;  // of a short write
  if (::write(file, line.data(), line.size()) == std::ssize(line)) return OkStatus();
  Status status = CannotAppend(path);
  // Half a line would keep the server from reading its tokens.
  static_cast<void>(size >= 0 && ::ftruncate(file, size) == 0);
  return status;
}

}  // namespace

Status RunNewToken(const TokenRequest& request) {
  TF_ASSIGN_OR_RETURN(const NewToken made, MakeToken(request.role, request.name));
  const bool appends = !request.append_to.empty();
  const FileDescriptor file(
      appends ? ::open(request.append_to.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600)
              : -1);
  if (appends && file.get() < 0) return CannotAppend(request.append_to);
  // First the token: a line that admits one that nobody has would stay for ever.
  if (std::printf("%s\n", made.token.c_str()) < 0 || std::fflush(stdout) != 0) {
    return BadConfiguration("the token could not be written; no line admits it");
  }
  if (appends) return AppendLine(request.append_to, file.get(), made.line);
  std::fprintf(stderr,
               "Append this line to the file that tokens_file names, and start the server again; "
               "the token itself is kept nowhere:\n%s\n",
               made.line.c_str());
  return OkStatus();
}

}  // namespace tightfit
