// The memory of a device that does not share the host's.
#ifndef TIGHTFIT_SERVER_BASE_OWN_MEMORY_H_
#define TIGHTFIT_SERVER_BASE_OWN_MEMORY_H_

#include <cstdint>

namespace tightfit {

struct OwnMemory {
  int64_t total_bytes = 0;
  int64_t free_bytes = 0;  // to all processes
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_BASE_OWN_MEMORY_H_
