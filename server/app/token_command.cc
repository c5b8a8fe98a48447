#include "server/app/token_command.h"

#include "server/config/config.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace tightfit {
namespace {

// Whole lines only: what an editor left without an end of line gets one.
Status AppendLine(const std::string& path, std::string line) {
  const auto failed = [&path] {
    return BadConfiguration("--append-to: " + path + ": " + std::strerror(errno));
  };
  const int file = ::open(path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0) return failed();
  const off_t size = ::lseek(file, 0, SEEK_END);
  char last = '\n';
  if (size > 0 && ::pread(file, &last, 1, size - 1) == 1 && last != '\n') line.insert(0, "\n");
  line += '\n';
  const bool written = ::write(file, line.data(), line.size()) == std::ssize(line);
  const Status status = written ? OkStatus() : failed();
  if (::close(file) != 0 && written) return failed();
  return status;
}

}  // namespace

Status RunNewToken(const TokenRequest& request) {
  TF_ASSIGN_OR_RETURN(const NewToken made, MakeToken(request.role, request.name));
  if (!request.append_to.empty()) {
    TF_RETURN_IF_ERROR(AppendLine(request.append_to, made.line));
  } else {
    std::fprintf(stderr,
                 "Append this line to the file that tokens_file names, and start the server again; "
                 "the token itself is kept nowhere:\n%s\n",
                 made.line.c_str());
  }
  std::printf("%s\n", made.token.c_str());
  return std::fflush(stdout) == 0 ? OkStatus() : BadConfiguration("the token could not be written");
}

}  // namespace tightfit
