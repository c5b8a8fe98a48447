// tightfit.v1.ServerService: what this process is and what a client may send.
#ifndef TIGHTFIT_SERVER_RPC_SERVER_SERVICE_H_
#define TIGHTFIT_SERVER_RPC_SERVER_SERVICE_H_

#include "server/base/server_info.h"
#include "server/rpc/bounded_handler.h"
#include "server/rpc/call_context.h"

#include <tightfit/v1/server.grpc.pb.h>

namespace tightfit {

// Thread-safe. `context` must outlive the service and its calls.
class ServerServiceImpl final : public v1::ServerService::CallbackService {
 public:
  // `max_queued_requests` of Limits is told to clients.
  ServerServiceImpl(const CallContext* context, ServerInfo info)
      : context_(context), info_(std::move(info)) {
    Bound("GetServerInfo", &ServerServiceImpl::GetServerInfo);
    Bound("GetCapabilities", &ServerServiceImpl::GetCapabilities);
  }

  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* rpc,
                                          const v1::GetServerInfoRequest* request,
                                          v1::GetServerInfoResponse* response) override;
  grpc::ServerUnaryReactor* GetCapabilities(grpc::CallbackServerContext* rpc,
                                            const v1::GetCapabilitiesRequest* request,
                                            v1::GetCapabilitiesResponse* response) override;

 private:
  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* rpc, const Request& request,
                                   Response& response) const;
  template <typename Method>
  void Bound(const char* name, Method method) {
    MarkMethodCallback(MethodIndex(v1::ServerService::service_full_name(), name),
                       MakeBoundedHandler(context_, name, this, method));
  }

  void Describe(v1::GetServerInfoResponse& response) const;
  void Describe(v1::GetCapabilitiesResponse& response) const;

  const CallContext* const context_;
  const ServerInfo info_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_SERVER_SERVICE_H_
