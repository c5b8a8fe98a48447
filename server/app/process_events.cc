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
#include <string_view>

namespace tightfit {
namespace {

// Milliseconds until `deadline`, rounded up, for poll(); -1: no deadline.
int PollTimeout(std::optional<std::chrono::steady_clock::time_point> deadline) {
  if (!deadline.has_value()) return -1;
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(*deadline - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, INT_MAX));
}

constexpr int kStopping[] = {SIGTERM, SIGINT, SIGQUIT, SIGPWR, SIGXCPU};
constexpr int kIgnored[] = {SIGPIPE, SIGXFSZ, SIGUSR1,   SIGUSR2, SIGALRM, SIGVTALRM,
                            SIGPROF, SIGIO,   SIGSTKFLT, SIGTTIN, SIGTTOU};

bool serves = true;

// Before there is anything to drain. Whoever only asked for something did not get it.
void EndEarly(int number) {
  if (serves) _exit(0);
  signal(number, SIG_DFL);
  raise(number);
}

void DoNothing(int) {}

// Unless whoever started the process ignores the signal.
void Handle(int number, void (*handler)(int)) {
  struct sigaction action = {};
  if (sigaction(number, nullptr, &action) != 0 || action.sa_handler == SIG_IGN) return;
  action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigaction(number, &action, nullptr);
}

// open takes the lowest number that is free. Where the output was to go somewhere, it cannot.
void GuardStandardStreams() {
  constexpr int kDirections[] = {O_RDONLY, O_RDONLY, O_WRONLY};
  for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; ++stream) {
    if (fcntl(stream, F_GETFD) < 0 && open("/dev/null", kDirections[stream]) != stream) return;
  }
}

// Called by the loader before any constructor: those of LibTorch take a good part of a second.
void SetUpEarly(int argc, char** argv, char**) {
  GuardStandardStreams();
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    for (const char* asking : {"--check", "--help", "-h", "--version", "-V"}) {
      if (argument == asking) serves = false;
    }
    if (i == 1 && argument == "token") serves = false;
  }
  for (const int number : kStopping) Handle(number, EndEarly);
  for (const int number : kIgnored) signal(number, SIG_IGN);
  for (int number = SIGRTMIN; number <= SIGRTMAX; ++number) signal(number, SIG_IGN);
  Handle(SIGHUP, DoNothing);
}
[[gnu::section(".preinit_array"), gnu::used]] void (*const set_up_early)(int, char**,
                                                                         char**) = SetUpEarly;

Status SystemFailure(const char* what) {
  return Internal(std::string("could not ") + what, std::strerror(errno));
}

}  // namespace

Result<std::unique_ptr<ProcessEvents>> ProcessEvents::Open() {
  sigset_t signals;
  sigemptyset(&signals);
  // A blocked signal that is ignored would be delivered here all the same.
  const auto add = [&signals](int number) {
    struct sigaction action = {};
    const bool is_ignored =
        sigaction(number, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
    if (!is_ignored) sigaddset(&signals, number);
  };
  for (const int number : kStopping) add(number);
  add(SIGHUP);
  if (pthread_sigmask(SIG_BLOCK, &signals, nullptr) != 0) return SystemFailure("block signals");
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
