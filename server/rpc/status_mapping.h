// The one door through which errors leave: a Status becomes a grpc::Status with google.rpc details.
#ifndef TIGHTFIT_SERVER_RPC_STATUS_MAPPING_H_
#define TIGHTFIT_SERVER_RPC_STATUS_MAPPING_H_

#include "server/base/status.h"

#include <grpcpp/support/status.h>

namespace tightfit {

// google.rpc.ErrorInfo.domain of every error.
inline constexpr char kErrorDomain[] = "tightfit";
// Bounds of what an error may carry: it travels in the trailers, of which clients accept 8 KiB.
inline constexpr size_t kMaxErrorMessageBytes = 1024;
inline constexpr size_t kMaxFieldViolations = 44;

// Details: always ErrorInfo; BadRequest where there are field violations; RetryInfo where there is
// a delay; ResourceInfo for NOT_FOUND with metadata `model`. Status::detail() is left out.
grpc::Status ToGrpcStatus(const Status& status);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_STATUS_MAPPING_H_
