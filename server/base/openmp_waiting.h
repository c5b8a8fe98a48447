// How the threads that LibTorch computes with (GNU OpenMP) wait for each other.
//
// OpenMP's own default is to spin for milliseconds at every barrier. Where other processes want the
// processors too, or a quota limits them, that burns the time that the thread which is waited for
// needs: a step takes a hundred times as long. The library reads its environment while it is
// loaded, before main, and offers no call: the setting needs a program that is started with it.
#ifndef TIGHTFIT_SERVER_BASE_OPENMP_WAITING_H_
#define TIGHTFIT_SERVER_BASE_OPENMP_WAITING_H_

#include <string>

namespace tightfit {

struct OpenMpWaiting {
  std::string policy;     // as its environment says it: "GOMP_SPINCOUNT=20000"; "" if nothing does
  bool is_users = false;  // found in the environment that the program was first started with
};

// Executes the program of this process again with an environment that limits spinning. Returns at
// once if that was done before, if the environment already says how threads wait (OMP_WAIT_POLICY,
// GOMP_SPINCOUNT, KMP_BLOCKTIME), or if it cannot be done: then threads wait as before. Call from
// main before there are threads, open files or blocked signals; `argv` is main's.
void RestartWithBriefOpenMpWaiting(const char* const* argv);

// What holds for this process.
OpenMpWaiting ReadOpenMpWaiting();

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_BASE_OPENMP_WAITING_H_
