#include "client/cli/interrupt_watcher.h"

#include "client/cli/exit_code.h"
#include "client/cli/temporary_files.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <vector>

namespace tightfit::cli {
namespace {

// All that end a process and tell of no fault in it.
std::vector<int> EndingSignals() {
  std::vector<int> numbers = {SIGINT,    SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2,  SIGALRM,
                              SIGVTALRM, SIGPROF, SIGIO,  SIGPWR,  SIGXCPU, SIGSTKFLT};
  for (int number = SIGRTMIN; number <= SIGRTMAX; ++number) numbers.push_back(number);
  return numbers;
}

}  // namespace

InterruptWatcher::InterruptWatcher() {
  // A file that may not grow is an error of the write.
  ::signal(SIGXFSZ, SIG_IGN);
  sigset_t watched;
  sigemptyset(&watched);
  for (const int number : EndingSignals()) {
    // Background jobs of a shell start with SIGINT ignored and must keep it so.
    struct sigaction action = {};
    sigaction(number, nullptr, &action);
    if (action.sa_handler != SIG_IGN) sigaddset(&watched, number);
  }
  pthread_sigmask(SIG_BLOCK, &watched, nullptr);
  signals_ = signalfd(-1, &watched, SFD_CLOEXEC);
  quit_ = eventfd(0, EFD_CLOEXEC);
  thread_ = std::thread([this] { Watch(); });
}

InterruptWatcher::~InterruptWatcher() {
  eventfd_write(quit_, 1);
  thread_.join();
  close(signals_);
  close(quit_);
}

void InterruptWatcher::Watch() {
  while (true) {
    pollfd watched[] = {{signals_, POLLIN, 0}, {quit_, POLLIN, 0}};
    if (poll(watched, 2, -1) < 0) continue;  // EINTR
    if (watched[1].revents != 0) return;
    signalfd_siginfo received;
    if (read(signals_, &received, sizeof(received)) != sizeof(received)) continue;
    const int number = static_cast<int>(received.ssi_signo);
    if (signal_ != 0) {
      RemoveTemporaryFiles();
      _exit(kExitSignalBase + number);
    }
    signal_ = number;
    source_.request_stop();
  }
}

}  // namespace tightfit::cli
