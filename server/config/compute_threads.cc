#include "server/config/compute_threads.h"

#include <cstdlib>

namespace tightfit {
namespace {

// As the configuration's.
constexpr long kMaxThreads = 1024;

}  // namespace

ComputeThreads ChooseComputeThreads(int32_t configured, const char* omp_num_threads,
                                    const CpuShare& share) {
  if (configured > 0) return {.count = configured, .chosen_by = "configuration"};
  if (omp_num_threads != nullptr) {
    // A list has one count for each level of nesting.
    const long count = std::strtol(omp_num_threads, nullptr, 10);
    if (count > 0 && count <= kMaxThreads) {
      return {.count = static_cast<int32_t>(count), .chosen_by = "environment"};
    }
  }
  const int count = share.thread_count();
  return {.count = count, .chosen_by = count < share.cpu_count ? "quota" : "affinity"};
}

}  // namespace tightfit
