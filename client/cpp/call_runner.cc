#include "client/cpp/call_runner.h"

#include <grpcpp/generic/generic_stub.h>

#include <algorithm>
#include <condition_variable>
#include <future>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace tightfit::client {
namespace {

// How late a cancel may be seen while connecting: gRPC's wait cannot be interrupted.
constexpr std::chrono::milliseconds kConnectPoll{50};
// For so long nobody needs to be told that it connects.
constexpr std::chrono::milliseconds kSilence{2000};
// How long a connection that seems to want TLS is tried again without it.
constexpr std::chrono::milliseconds kTlsPatience{1200};

Status Cancelled() { return {StatusCode::kCancelled, "CANCELLED", "cancelled by the caller"}; }

std::string Seconds(std::chrono::milliseconds duration) {
  const std::string tenths = std::to_string((duration.count() + 50) / 100);
  const std::string padded = tenths.size() < 2 ? "0" + tenths : tenths;
  return padded.substr(0, padded.size() - 1) + "." + padded.back() + " s";
}

// False when cancelled before the time was over.
bool Wait(std::chrono::milliseconds duration, const std::stop_token& cancel) {
  std::mutex mutex;
  std::condition_variable_any never_notified;
  std::unique_lock lock(mutex);
  never_notified.wait_for(lock, cancel, duration, [] { return false; });
  return !cancel.stop_requested();
}

}  // namespace

CallRunner::CallRunner(ClientOptions options, std::shared_ptr<grpc::Channel> channel)
    : options_(std::move(options)), channel_(std::move(channel)) {}

Status CallRunner::Connect(std::chrono::milliseconds timeout, const std::stop_token& cancel,
                           const ConnectOptions& options) const {
  Status status = ConnectUntil(Clock::now() + timeout, cancel, options);
  if (status.ok() || !status.message().empty()) return status;
  return {StatusCode::kUnavailable, std::string(kCannotConnect),
          "cannot connect to " + options_.server + " within " + Seconds(timeout)};
}

Status CallRunner::ConnectUntil(Clock::time_point deadline, const std::stop_token& cancel,
                                const ConnectOptions& options) const {
  TF_RETURN_IF_ERROR(CheckCredentials(options_));
  const Clock::time_point slow = Clock::now() + kSilence;
  bool is_slow = false;
  const Status unknown = {StatusCode::kUnavailable, std::string(kCannotConnect), ""};
  Status likely = unknown;
  std::optional<Clock::time_point> ended_by_tls_at;
  while (true) {
    if (cancel.stop_requested()) return Cancelled();
    const Clock::time_point now = Clock::now();
    if (!is_slow && now >= slow) {
      is_slow = true;
      if (options.on_slow) options.on_slow();
    }
    const Clock::time_point slice = std::min(deadline, now + kConnectPoll);
    if (channel_->WaitForConnected(slice)) return OkStatus();
    if (channel_->GetState(false) == GRPC_CHANNEL_TRANSIENT_FAILURE) {
      if (const std::optional<ConnectFailure> failure = LastFailure(deadline)) {
        const bool ends_now = failure->is_absence && !options.waits_for_server;
        if (failure->is_certain || ends_now) return failure->status;
        if (failure->status.reason() == kTlsFailed) {
          // Once may be a server that is just ending; a server with TLS does it every time.
          if (!ended_by_tls_at.has_value()) ended_by_tls_at = now;
          if (!options.waits_for_server && now - *ended_by_tls_at >= kTlsPatience) {
            return failure->status;
          }
        }
        // That it was refused is no news to who waits for a server.
        likely = failure->status.ok() || failure->is_absence ? unknown : failure->status;
      }
    }
    if (now >= deadline) return likely;
  }
}

std::optional<ConnectFailure> CallRunner::LastFailure(Clock::time_point deadline) const {
  // The channel's state does not say why; a call that does not wait for the connection does.
  grpc::ClientContext context;
  context.set_deadline(std::min(deadline, Clock::now() + kConnectPoll));
  grpc::GenericStub stub(channel_);
  const grpc::Slice empty;
  const grpc::ByteBuffer nothing(&empty, 1);
  grpc::ByteBuffer answer;
  std::promise<grpc::Status> done;
  stub.UnaryCall(&context, "/grpc.health.v1.Health/Check", {}, &nothing, &answer,
                 [&done](grpc::Status status) { done.set_value(std::move(status)); });
  const grpc::Status status = done.get_future().get();
  if (status.error_code() != grpc::StatusCode::UNAVAILABLE) return std::nullopt;
  return ExplainConnectFailure(status.error_message(), options_);
}

Status CallRunner::Run(const CallOptions& call, const Attempt& attempt) const {
  const auto deadline = call.timeout.has_value()
                            ? std::optional<Clock::time_point>(Clock::now() + *call.timeout)
                            : std::nullopt;
  std::chrono::milliseconds delay = options_.first_retry_delay;
  for (int32_t tries = 1;; ++tries) {
    const bool deadline_is_first =
        deadline.has_value() && *deadline < Clock::now() + options_.connect_timeout;
    if (deadline_is_first) {
      const Status connected = ConnectUntil(*deadline, call.cancel);
      if (!connected.ok()) {
        if (!connected.message().empty()) return connected;
        return {StatusCode::kUnavailable, std::string(kCannotConnect),
                "cannot connect to " + options_.server + " within " + Seconds(*call.timeout)};
      }
    } else {
      TF_RETURN_IF_ERROR(Connect(options_.connect_timeout, call.cancel));
    }

    grpc::ClientContext context;
    if (deadline.has_value()) context.set_deadline(*deadline);
    if (!options_.token.empty()) context.AddMetadata("authorization", "Bearer " + options_.token);
    Outcome outcome;
    {
      const std::stop_callback on_cancel(call.cancel, [&context] { context.TryCancel(); });
      outcome = attempt(context);
    }
    if (outcome.status.ok()) return OkStatus();
    if (call.cancel.stop_requested()) return Cancelled();

    Status failure = Explain(std::move(outcome.status), call);
    if (outcome.counts_anew) {
      tries = 1;
      delay = options_.first_retry_delay;
    }
    if (failure.code() != StatusCode::kUnavailable || outcome.retry_forbidden ||
        tries >= options_.max_attempts) {
      return failure;
    }
    const std::chrono::milliseconds wait =
        std::min(std::max(delay, failure.retry_after().value_or(delay)), options_.max_retry_delay);
    if (deadline.has_value() && Clock::now() + wait >= *deadline) return failure;
    if (call.on_retry) call.on_retry(failure, wait);
    if (!Wait(wait, call.cancel)) return Cancelled();
    delay *= 2;
  }
}

Status CallRunner::Explain(Status status, const CallOptions& call) const {
  // A server of ours gives a reason; without one, the failure is gRPC's own.
  if (!status.reason().empty()) return status;
  const std::string detail = status.message();
  switch (status.code()) {
    case StatusCode::kDeadlineExceeded:
      return Status(StatusCode::kDeadlineExceeded, "DEADLINE_EXCEEDED",
                    call.timeout.has_value() ? "not done within " + Seconds(*call.timeout) : detail)
          .WithDetail(detail);
    case StatusCode::kUnavailable:
      return Status(StatusCode::kUnavailable, std::string(kConnectionLost),
                    "the connection to " + options_.server + " was lost")
          .WithDetail(detail);
    case StatusCode::kUnimplemented:
      return Status(StatusCode::kUnimplemented, std::string(kNotTightfit),
                    options_.server + " answers, but does not serve this call of tightfit.v1")
          .WithDetail(detail);
    default:
      return status;
  }
}

}  // namespace tightfit::client
