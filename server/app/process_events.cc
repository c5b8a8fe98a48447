#include "server/app/process_events.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

namespace tightfit {
namespace {

// Milliseconds until `deadline`, rounded up, for poll(); -1: no deadline.
int PollTimeout(std::optional<std::chrono::steady_clock::time_point> deadline) {
  if (!deadline.has_value()) return -1;
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(*deadline - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, INT_MAX));
}

Status SystemFailure(const char* what) {
  return Internal(std::string("could not ") + what, std::strerror(errno));
}

}  // namespace

Result<std::unique_ptr<ProcessEvents>> ProcessEvents::Open() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGHUP);
  if (pthread_sigmask(SIG_BLOCK, &signals, nullptr) != 0) return SystemFailure("block signals");
  signal(SIGPIPE, SIG_IGN);
  const int signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signal_fd < 0) return SystemFailure("open a signal descriptor");
  int pipe_fds[2];
  if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) != 0) {
    const Status status = SystemFailure("open a pipe");
    close(signal_fd);
    return status;
  }
  return std::unique_ptr<ProcessEvents>(new ProcessEvents(signal_fd, pipe_fds[0], pipe_fds[1]));
}

ProcessEvents::~ProcessEvents() {
  close(signal_fd_);
  close(read_fd_);
  close(write_fd_);
}

void ProcessEvents::Post(Event event) {
  while (write(write_fd_, &event, 1) < 0 && errno == EINTR) {
  }
}

ProcessEvents::Event ProcessEvents::Wait(
    std::optional<std::chrono::steady_clock::time_point> deadline) {
  for (;;) {
    pollfd descriptors[] = {{signal_fd_, POLLIN, 0}, {read_fd_, POLLIN, 0}};
    const int ready = poll(descriptors, 2, PollTimeout(deadline));
    if (ready == 0) return Event::kTimeout;
    if (ready < 0) continue;  // interrupted
    signalfd_siginfo info;
    if (read(signal_fd_, &info, sizeof(info)) == sizeof(info)) {
      return info.ssi_signo == SIGHUP ? Event::kReload : Event::kTerminate;
    }
    Event event;
    if (read(read_fd_, &event, 1) == 1) return event;
  }
}

}  // namespace tightfit
