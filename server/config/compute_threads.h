// How many threads compute: chosen once, when the server starts.
#ifndef TIGHTFIT_SERVER_CONFIG_COMPUTE_THREADS_H_
#define TIGHTFIT_SERVER_CONFIG_COMPUTE_THREADS_H_

#include "server/base/cpu_share.h"

#include <cstdint>
#include <string>

namespace tightfit {

struct ComputeThreads {
  int32_t count = 1;
  // "configuration", "environment" (OMP_NUM_THREADS), "quota" or "affinity".
  std::string chosen_by;
};

// `configured`: 0 leaves the choice to the environment's OMP_NUM_THREADS, and without one to
// `share`. `omp_num_threads` is that variable's value or nullptr.
ComputeThreads ChooseComputeThreads(int32_t configured, const char* omp_num_threads,
                                    const CpuShare& share);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_CONFIG_COMPUTE_THREADS_H_
