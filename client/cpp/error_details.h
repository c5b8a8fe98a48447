// From a failed gRPC call to a Status: the code and the google.rpc details that tightfit servers
// attach.
#ifndef TIGHTFIT_CLIENT_CPP_ERROR_DETAILS_H_
#define TIGHTFIT_CLIENT_CPP_ERROR_DETAILS_H_

#include "server/base/status.h"

#include <grpcpp/support/status.h>

namespace tightfit::client {

// Without an ErrorInfo the reason is empty. ResourceInfo goes to the metadata `resource_type` and
// `resource_name`. Details that do not parse are left out.
Status FromGrpc(const grpc::Status& status);

}  // namespace tightfit::client

#endif  // TIGHTFIT_CLIENT_CPP_ERROR_DETAILS_H_
