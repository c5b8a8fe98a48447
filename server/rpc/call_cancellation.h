// Why gRPC cancelled a call.
#ifndef TIGHTFIT_SERVER_RPC_CALL_CANCELLATION_H_
#define TIGHTFIT_SERVER_RPC_CALL_CANCELLATION_H_

#include "server/base/status.h"

#include <algorithm>
#include <chrono>

namespace tightfit {

// DEADLINE_EXCEEDED when the deadline of a call that was received at `received` is the reason that
// it was cancelled at `now`, else CANCELLED: the client cancelled or is gone. gRPC reports all of
// them alike. The client's own timer may fire first: it sent its timeout rounded up (by up to 1 %)
// and earlier than the server's clock started.
inline Status CancellationOf(std::chrono::system_clock::time_point received,
                             std::chrono::system_clock::time_point deadline,
                             std::chrono::system_clock::time_point now) {
  using std::chrono::milliseconds;
  const auto slack = std::max<std::chrono::system_clock::duration>(
      milliseconds(50), deadline < received ? milliseconds(0) : (deadline - received) / 100);
  if (deadline != std::chrono::system_clock::time_point::max() && deadline - slack <= now) {
    return {StatusCode::kDeadlineExceeded, "DEADLINE_EXCEEDED",
            "the deadline passed before the end of the work"};
  }
  return {StatusCode::kCancelled, "CANCELLED", "the client cancelled the request"};
}

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_CALL_CANCELLATION_H_
