// How the threads that LibTorch computes with (GNU OpenMP) wait for each other.
//
// At a barrier they spin for milliseconds before they sleep. That is best while they have their
// processors to themselves: a step has hundreds of barriers, and each sleep costs a wake-up. Where
// others want the processors too, spinning takes them from the thread that is waited for, and a
// step takes fifty times as long. What the library reads of its environment before main cannot be
// changed later, but by its manual it spins a thousandth as long while it has more threads than
// there are processors. So as long as the processors are wanted by others, a second team of threads
// is kept, which never works.
#ifndef TIGHTFIT_SERVER_BASE_OPENMP_WAITING_H_
#define TIGHTFIT_SERVER_BASE_OPENMP_WAITING_H_

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace tightfit {

// Whether others want the processors, by how long a computing thread ran and how long it was ready
// to run and had to wait for its turn. Not thread-safe.
class ContentionJudge {
 public:
  // What the thread did since the last call; true while it is contended.
  bool Update(std::chrono::nanoseconds ran, std::chrono::nanoseconds waited);

 private:
  bool is_contended_ = false;
  std::chrono::nanoseconds ran_calmly_{0};      // while contended: since it last waited
  std::chrono::nanoseconds ran_since_calm_{0};  // while not: since it was
  std::chrono::nanoseconds patience_{0};        // how long it must run calmly
};

// What the environment says of it (OMP_WAIT_POLICY, GOMP_SPINCOUNT, KMP_BLOCKTIME): the user's
// choice. "" if nothing.
std::string UsersOpenMpWaiting();

// Lets the threads spin or sleep for as long as it lives. Does nothing where the user has chosen,
// or where the process has no GNU OpenMP.
class OpenMpWaiting {
 public:
  // Watches the calling thread, which must live as long. `sleeps_always`: does not wait for
  // contention, as a quota of processors' time needs it. `on_change`, which may be empty, hears
  // whether they sleep from now on, on a thread of this object.
  OpenMpWaiting(bool sleeps_always, std::function<void(bool sleeps)> on_change);
  ~OpenMpWaiting();
  OpenMpWaiting(const OpenMpWaiting&) = delete;
  OpenMpWaiting& operator=(const OpenMpWaiting&) = delete;

 private:
  void Watch(bool sleeps_always);
  // Keeps the second team from now on, or ends it. Returns false if there are no threads for it.
  bool LetSleep(bool sleep);

  // Of the calling thread: "RAN WAITED TURNS" in nanoseconds.
  const std::string schedule_file_;
  const std::function<void(bool sleeps)> on_change_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  bool keeps_team_ = false;
  std::thread team_;  // the master of the second team
  std::thread watcher_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_BASE_OPENMP_WAITING_H_
