// How long a model may be told to stay on the device, by the configuration and by UpdateModel.
#ifndef TIGHTFIT_SERVER_BASE_KEEP_ALIVE_H_
#define TIGHTFIT_SERVER_BASE_KEEP_ALIVE_H_

#include <cstdint>

namespace tightfit {

inline constexpr int64_t kMaxKeepAliveSeconds = int64_t{366} * 86400;

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_BASE_KEEP_ALIVE_H_
