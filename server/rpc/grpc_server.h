// GrpcServer: the listening port with all services, health and reflection. Free of gRPC's headers,
// so that the composition root does not need them.
#ifndef TIGHTFIT_SERVER_RPC_GRPC_SERVER_H_
#define TIGHTFIT_SERVER_RPC_GRPC_SERVER_H_

#include "server/base/clock.h"
#include "server/base/limits.h"
#include "server/base/server_info.h"
#include "server/base/status.h"
#include "server/engine/device_executor.h"
#include "server/engine/model_registry.h"
#include "server/engine/rpc_observer.h"
#include "server/security/access_control.h"
#include "server/security/tls_files.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace tightfit {

// A reason of AskOwnPort's status.
inline constexpr std::string_view kNotAsked = "NOT_ASKED";

struct GrpcServerOptions {
  std::string listen;  // "host:port" or "unix:PATH"; port 0: the system picks one
  Limits limits;
  int32_t encode_threads = 1;      // threads that encode images
  std::optional<TlsIdentity> tls;  // nullopt: plain text
  AccessControl access;            // with tokens, there is no reflection
};

// Must outlive the server. `observer` may be null.
struct GrpcServerDependencies {
  DeviceExecutor* executor = nullptr;
  ModelRegistry* registry = nullptr;
  const Clock* clock = nullptr;
  RpcObserver* observer = nullptr;
};

// Thread-safe. Health names: "" and the full names of the three services, and `model/<name>` for
// each configured model. `model/<name>` follows the registry by itself: SERVING while resident.
// ModelService and ServerService are SERVING from the start, "" and ImageGenerationService once
// SetReady(true) was called.
class GrpcServer {
 public:
  // Listens and serves. Errors: INVALID_ARGUMENT if `listen` is no address, or if the descriptors
  // do not suffice for limits.max_connections; FAILED_PRECONDITION `ADDRESS_IN_USE` when the
  // address cannot be bound.
  static Result<std::unique_ptr<GrpcServer>> Start(const GrpcServerOptions& options,
                                                   const GrpcServerDependencies& dependencies,
                                                   ServerInfo info);
  // Shutdown(0) unless it was called.
  ~GrpcServer();

  // With the port that was bound: "127.0.0.1:41233", "unix:/run/tightfit.sock".
  std::string address() const;

  // Sets "" and ImageGenerationService.
  void SetReady(bool ready);
  // Sets one health name.
  void SetServing(std::string_view service, bool serving);
  // The certificate, key and client CA of the next handshakes. REQUIRES: started with TLS, and with
  // a client CA if this one has one.
  void ReplaceTls(TlsIdentity identity);
  // Connects to the port as a client does, in the place that is kept for that, and asks for health.
  // OK where an answer comes within `patience`; kNotAsked if no call could be begun for a reason
  // that is not this server's: its address has left the machine, or the machine is out of
  // something. Blocks.
  Status AskOwnPort(std::chrono::milliseconds patience);

  // Every health name becomes NOT_SERVING and stays so. Calls are still answered: the first thing
  // to do at SIGTERM, before DeviceExecutor::Drain.
  void StopServing();

  // Takes no new calls, waits for those that run, cancels what is left after `limit` and waits
  // until the executor has let go of it. Blocks. Call after DeviceExecutor::Drain.
  void Shutdown(std::chrono::milliseconds limit);

 private:
  class Impl;
  explicit GrpcServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_GRPC_SERVER_H_
