#include "server/base/openmp_waiting.h"

#include <sys/auxv.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

namespace tightfit {
namespace {

// Any of them is the user's choice. KMP_BLOCKTIME is that of LLVM's OpenMP, which may be preloaded.
constexpr std::array<const char*, 3> kUsersVariables = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT",
                                                        "KMP_BLOCKTIME"};
// Half a millisecond or so: longer than nearly all that one of the threads has to wait for while
// they have their processors to themselves, and shorter than the slice of time that a scheduler
// gives to somebody else. tests/bench/busy_machine.py has the figures.
constexpr char kSpinVariable[] = "GOMP_SPINCOUNT";
constexpr char kSpinCount[] = "20000";
// Set in the environment of the program that was executed again.
constexpr char kMark[] = "TIGHTFIT_OPENMP_WAITING";

// The program's file. Its own name rather than the link's, which process lists would show.
std::string ProgramFile() {
  constexpr char kLink[] = "/proc/self/exe";
  std::array<char, 4096> path{};
  const ssize_t size = readlink(kLink, path.data(), path.size());
  if (size <= 0 || static_cast<size_t>(size) == path.size()) return kLink;
  const std::string file(path.data(), static_cast<size_t>(size));
  return access(file.c_str(), X_OK) == 0 ? file : kLink;
}

}  // namespace

void RestartWithBriefOpenMpWaiting(const char* const* argv) {
  if (std::getenv(kMark) != nullptr || !ReadOpenMpWaiting().policy.empty()) return;
  // Without a loader in between, /proc/self/exe is the loader that was started with the program's
  // name.
  if (getauxval(AT_BASE) == 0) return;
  setenv(kMark, "server", /*overwrite=*/1);
  setenv(kSpinVariable, kSpinCount, /*overwrite=*/1);
  execv(ProgramFile().c_str(), const_cast<char* const*>(argv));
  // Not executed: what was set would only tell a wrong story.
  unsetenv(kSpinVariable);
  unsetenv(kMark);
}

OpenMpWaiting ReadOpenMpWaiting() {
  OpenMpWaiting waiting;
  for (const char* const name : kUsersVariables) {
    const char* const value = std::getenv(name);
    if (value == nullptr) continue;
    waiting.policy += (waiting.policy.empty() ? "" : " ") + std::string(name) + "=" + value;
  }
  waiting.is_users = !waiting.policy.empty() && std::getenv(kMark) == nullptr;
  return waiting;
}

}  // namespace tightfit
