// MibText: bytes as people read them in a refusal.
#ifndef TIGHTFIT_SERVER_BASE_MIB_TEXT_H_
#define TIGHTFIT_SERVER_BASE_MIB_TEXT_H_

#include <cstdint>
#include <string>

namespace tightfit {

// "48 MiB", rounded up.
inline std::string MibText(int64_t bytes) {
  return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB";
}

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_BASE_MIB_TEXT_H_
