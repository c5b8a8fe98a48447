#include "server/base/openmp_waiting.h"

#include "server/base/cpu_share.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <latch>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

// Any of them is the user's choice. KMP_BLOCKTIME is that of LLVM's OpenMP, which may be preloaded.
constexpr std::array<const char*, 3> kUsersVariables = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT",
                                                        "KMP_BLOCKTIME"};
constexpr milliseconds kInterval{50};
// Less says nothing: the thread has hardly computed.
constexpr milliseconds kShortestLook{5};
// Of the time in which it could run: more is contention, less is calm.
constexpr double kContendedShare = 0.05;
constexpr double kCalmShare = 0.02;
// How long it must run calmly; each time that it was wrong twice as long.
constexpr seconds kShortestPatience{2};
constexpr seconds kLongestPatience{60};

// What compilers call for `#pragma omp parallel`.
using Parallel = void (*)(void (*work)(void*), void* data, unsigned thread_count, unsigned flags);

// Whether so many threads can be had now: libgomp ends the process if it gets fewer than it asks
// for.
bool CanStartThreads(int64_t count) {
  std::vector<std::jthread> threads;
  std::latch end(1);
  bool can_start = true;
  try {
    threads.reserve(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) threads.emplace_back([&end] { end.wait(); });
  } catch (const std::exception&) {
    can_start = false;
  }
  end.count_down();
  return can_start;
}

Parallel FindParallel() { return reinterpret_cast<Parallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel")); }

}  // namespace

bool ContentionJudge::Update(nanoseconds ran, nanoseconds waited) {
  if (ran + waited < kShortestLook) return is_contended_;
  const double share =
      static_cast<double>(waited.count()) / static_cast<double>((ran + waited).count());
  if (!is_contended_) {
    ran_since_calm_ += ran;
    if (share <= kContendedShare) return false;
    const bool was_wrong = patience_.count() > 0 && ran_since_calm_ < patience_;
    patience_ = was_wrong ? std::min<nanoseconds>(2 * patience_, kLongestPatience)
                          : nanoseconds(kShortestPatience);
    is_contended_ = true;
    ran_calmly_ = nanoseconds(0);
    return true;
  }
  ran_calmly_ = share <= kCalmShare ? ran_calmly_ + ran : nanoseconds(0);
  if (ran_calmly_ < patience_) return true;
  is_contended_ = false;
  ran_since_calm_ = nanoseconds(0);
  return false;
}

std::string UsersOpenMpWaiting() {
  std::string said;
  for (const char* const name : kUsersVariables) {
    const char* const value = std::getenv(name);
    if (value != nullptr) said += (said.empty() ? "" : " ") + std::string(name) + "=" + value;
  }
  return said;
}

OpenMpWaiting::OpenMpWaiting(bool sleeps_always, std::function<void(bool sleeps)> on_change)
    : schedule_file_("/proc/self/task/" + std::to_string(gettid()) + "/schedstat"),
      on_change_(std::move(on_change)) {
  if (FindParallel() == nullptr || !UsersOpenMpWaiting().empty()) return;
  watcher_ = std::thread([this, sleeps_always] { Watch(sleeps_always); });
}

OpenMpWaiting::~OpenMpWaiting() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (watcher_.joinable()) watcher_.join();
  LetSleep(false);
}

void OpenMpWaiting::Watch(bool sleeps_always) {
  ContentionJudge judge;
  int64_t ran_before = 0;
  int64_t waited_before = 0;
  std::ifstream(schedule_file_) >> ran_before >> waited_before;
  std::unique_lock lock(mutex_);
  // Without threads for a team it stays as it is: a try takes as many threads as there are
  // processors.
  bool has_threads = true;
  while (!stopping_ && has_threads) {
    lock.unlock();
    int64_t ran = 0;
    int64_t waited = 0;
    bool is_contended = sleeps_always;
    if (!sleeps_always && std::ifstream(schedule_file_) >> ran >> waited) {
      is_contended =
          judge.Update(nanoseconds(ran - ran_before), nanoseconds(waited - waited_before));
      if (nanoseconds(ran - ran_before + waited - waited_before) >= kShortestLook) {
        ran_before = ran;
        waited_before = waited;
      }
    }
    if (is_contended != keeps_team_) {
      try {
        has_threads = LetSleep(is_contended);
        if (has_threads && on_change_) on_change_(is_contended);
      } catch (const std::exception&) {  // no memory: the next look may have it
      }
    }
    lock.lock();
    wake_.wait_for(lock, kInterval, [this] { return stopping_; });
  }
}

bool OpenMpWaiting::LetSleep(bool sleep) {
  if (!sleep) {
    {
      const std::lock_guard lock(mutex_);
      keeps_team_ = false;
    }
    wake_.notify_all();
    if (team_.joinable()) team_.join();  // its threads go with their master
    return true;
  }
  const int64_t thread_count = ReadCpuShare().cpu_count + 1;
  if (!CanStartThreads(thread_count + 1)) return false;
  {
    const std::lock_guard lock(mutex_);
    keeps_team_ = true;
  }
  try {
    team_ = std::thread([this, thread_count] {
      FindParallel()([](void*) {}, nullptr, static_cast<unsigned>(thread_count), 0);
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return !keeps_team_; });
    });
  } catch (const std::exception&) {
    const std::lock_guard lock(mutex_);
    keeps_team_ = false;
    return false;
  }
  return true;
}

}  // namespace tightfit
