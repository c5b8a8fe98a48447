// CpuShare: how much of the machine's processors this process may use.
#ifndef TIGHTFIT_SERVER_BASE_CPU_SHARE_H_
#define TIGHTFIT_SERVER_BASE_CPU_SHARE_H_

#include <optional>
#include <string>

namespace tightfit {

struct CpuShare {
  // Processors that the scheduler may put its threads on (affinity, cpusets); at least 1.
  int cpu_count = 1;
  // Processors' worth of time that the control groups around it allow, the smallest of them: 0.5
  // is half a processor. nullopt if none of them limits it.
  std::optional<double> quota_cpus;

  // Threads that can compute at once: the quota rounded up, at most cpu_count. More of them would
  // wait for each other's turns.
  int thread_count() const;
};

CpuShare ReadCpuShare();

// The quota of the process whose /proc and control groups lie under `root` ("" is the machine's
// own): cpu.max of version 2, cpu.cfs_quota_us of version 1, of its group and of every group above
// that can be seen. What cannot be read limits nothing.
std::optional<double> ReadCpuQuota(const std::string& root);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_BASE_CPU_SHARE_H_
