// How a load ends that nobody waits for any more.
#ifndef TIGHTFIT_SERVER_BASE_LOAD_STOP_H_
#define TIGHTFIT_SERVER_BASE_LOAD_STOP_H_

#include "server/base/status.h"

namespace tightfit {

inline constexpr char kLoadStoppedReason[] = "LOAD_STOPPED";

// CANCELLED `LOAD_STOPPED`.
inline Status LoadStopped() {
  return {StatusCode::kCancelled, kLoadStoppedReason, "nobody waited for the model any more"};
}

inline bool IsLoadStopped(const Status& status) { return status.reason() == kLoadStoppedReason; }

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_BASE_LOAD_STOP_H_
