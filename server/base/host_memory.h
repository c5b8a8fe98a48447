// What the system says of the device, apart from what our accounts know.
#ifndef TIGHTFIT_SERVER_BASE_HOST_MEMORY_H_
#define TIGHTFIT_SERVER_BASE_HOST_MEMORY_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace tightfit {

// On a CPU: the machine's memory (MemTotal) and the process's resident set. 0 where the system does
// not tell.
struct HostMemory {
  int64_t total_bytes = 0;
  int64_t used_bytes = 0;
  int64_t available_bytes = 0;  // MemAvailable: free, or held for files only
};

// Reads /proc. Takes microseconds.
HostMemory ReadHostMemory();

// "Intel(R) Xeon(R) ...", as /proc/cpuinfo names it; "CPU" where it does not.
std::string ReadCpuName();

// Of the texts of /proc/meminfo, /proc/self/statm and /proc/cpuinfo.
int64_t ParseMemTotalBytes(std::string_view meminfo);
int64_t ParseMemAvailableBytes(std::string_view meminfo);
int64_t ParseResidentBytes(std::string_view statm, int64_t page_bytes);
std::string ParseCpuName(std::string_view cpuinfo);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_BASE_HOST_MEMORY_H_
