// Runs one call on a channel: waits for the connection, carries deadline and cancellation into
// every attempt, and repeats what may be repeated.
#ifndef TIGHTFIT_CLIENT_CPP_CALL_RUNNER_H_
#define TIGHTFIT_CLIENT_CPP_CALL_RUNNER_H_

#include "client/cpp/channel.h"
#include "client/cpp/generation_client.h"
#include "server/base/status.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>

namespace tightfit::client {

// Thread-safe.
class CallRunner {
 public:
  // One try of the call. `retry_forbidden` is set by the attempt once the caller has seen a part of
  // the answer: its failure is then final.
  struct Outcome {
    Status status;
    bool retry_forbidden = false;
    // Of a call that tells everything anew when it is sent again: the server has answered, so what
    // comes next counts as the first retry.
    bool counts_anew = false;
  };
  using Attempt = std::function<Outcome(grpc::ClientContext& context)>;

  CallRunner(ClientOptions options, std::shared_ptr<grpc::Channel> channel);

  Status Connect(std::chrono::milliseconds timeout, const std::stop_token& cancel,
                 const ConnectOptions& options = {}) const;
  Status Run(const CallOptions& call, const Attempt& attempt) const;

 private:
  using Clock = std::chrono::system_clock;  // the one that gRPC's deadlines use

  Status ConnectUntil(Clock::time_point deadline, const std::stop_token& cancel,
                      const ConnectOptions& options = {}) const;
  // What the last try to connect tells; nullopt where another one is under way.
  std::optional<ConnectFailure> LastFailure(Clock::time_point deadline) const;
  // Names what gRPC alone could say only in its own words.
  Status Explain(Status status, const CallOptions& call) const;

  const ClientOptions options_;
  const std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace tightfit::client

#endif  // TIGHTFIT_CLIENT_CPP_CALL_RUNNER_H_
