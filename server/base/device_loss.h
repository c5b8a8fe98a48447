// The one failure after which nothing of this process can use its device any more.
#ifndef TIGHTFIT_SERVER_BASE_DEVICE_LOSS_H_
#define TIGHTFIT_SERVER_BASE_DEVICE_LOSS_H_

#include "server/base/status.h"

#include <chrono>
#include <string>
#include <utility>

namespace tightfit {

inline constexpr char kDeviceLostReason[] = "DEVICE_LOST";

// About what a supervisor needs to start the process again.
inline constexpr std::chrono::milliseconds kDeviceLostRetry{5000};

// UNAVAILABLE `DEVICE_LOST`: the request may be sent again, to another server or to this one once
// it was started anew. `detail` is what the device said.
inline Status DeviceLost(std::string detail) {
  return Status(StatusCode::kUnavailable, kDeviceLostReason,
                "the server has lost its device and is being restarted; try again")
      .WithDetail(std::move(detail))
      .WithRetryAfter(kDeviceLostRetry);
}

inline bool IsDeviceLost(const Status& status) { return status.reason() == kDeviceLostReason; }

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_BASE_DEVICE_LOSS_H_
