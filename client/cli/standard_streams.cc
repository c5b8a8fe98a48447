#include "client/cli/standard_streams.h"

#include "client/cli/exit_code.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <iostream>
#include <string>

namespace tightfit::cli {
namespace {

std::atomic<int> output_error = 0;  // the first errno

void KeepOutputError() {
  int none = 0;
  output_error.compare_exchange_strong(none, errno != 0 ? errno : EIO);
}

// A pipe of which the reader has gone ends the process by SIGPIPE, unless the thread that wrote
// keeps the signal back and takes it away.
class SigpipeBlocked {
 public:
  SigpipeBlocked() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~SigpipeBlocked() {
    if (sigismember(&before_, SIGPIPE) == 1) return;
    const timespec now = {};
    sigtimedwait(&pipe_, nullptr, &now);
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  SigpipeBlocked(const SigpipeBlocked&) = delete;
  SigpipeBlocked& operator=(const SigpipeBlocked&) = delete;

 private:
  sigset_t pipe_;
  sigset_t before_;
};

}  // namespace

void GuardStandardStreams() {
  // open takes the lowest number that is free; the wrong direction makes every use fail.
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(stream, F_GETFD) >= 0 || errno != EBADF) continue;
    const int flags = stream == STDIN_FILENO ? O_WRONLY : O_RDONLY;
    if (open("/dev/null", flags) != stream) continue;
  }
}

#if defined(__linux__)
// Before the constructors of any library: gRPC opens descriptors in its own, and would be given the
// numbers of closed streams.
__attribute__((section(".preinit_array"),
               used)) void (*const guard_before_libraries)() = GuardStandardStreams;
#endif

void WriteError(std::string_view text) {
  const SigpipeBlocked blocked;
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
  std::clearerr(stderr);  // a disk may have room again
}

bool WriteOutput(std::string_view text) {
  if (output_error != 0) return false;  // no piece after one that is missing
  errno = 0;
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    KeepOutputError();
  }
  return output_error == 0;
}

int EndOfOutput(int exit_code) {
  errno = 0;
  std::cout.flush();
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0 || !std::cout.good()) KeepOutputError();
  if (output_error == 0) return exit_code;
  WriteError("error: cannot write to stdout: " + std::string(std::strerror(output_error)) +
             " [CANNOT_WRITE]\n");
  return exit_code == kExitOk ? kExitFailed : exit_code;
}

}  // namespace tightfit::cli
