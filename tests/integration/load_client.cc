#include "tests/integration/load_client.h"

#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <grpcpp/client_context.h>

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

namespace tightfit {
namespace {

using std::chrono::microseconds;
using std::chrono::steady_clock;

bool TellsWhenToRetry(const grpc::Status& status) {
  google::rpc::Status rich;
  if (!rich.ParseFromString(status.error_details())) return false;
  return std::ranges::any_of(rich.details(), [](const google::protobuf::Any& detail) {
    return detail.Is<google::rpc::RetryInfo>();
  });
}

// Sends calls and keeps the account of their ends.
class Sender {
 public:
  Sender(const std::vector<std::shared_ptr<grpc::Channel>>& channels,
         const v1::ImageParameters& parameters) {
    for (const auto& channel : channels) {
      stubs_.push_back(v1::ImageGenerationService::NewStub(channel));
    }
    *request_.mutable_parameters() = parameters;
  }

  // `then` is called after the end was counted.
  void Send(steady_clock::time_point due_at, const std::function<void()>& then = {}) {
    struct Call {
      grpc::ClientContext context;
      v1::GenerateImagesResponse response;
    };
    auto call = std::make_shared<Call>();
    call->context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    size_t index = 0;
    {
      const std::lock_guard lock(mutex_);
      index = static_cast<size_t>(result_.sent++) % stubs_.size();
    }
    // Named before it is moved into what is called at the end.
    Call& begun = *call;
    stubs_[index]->async()->GenerateImages(
        &begun.context, &request_, &begun.response,
        [this, call = std::move(call), due_at, then](const grpc::Status& status) mutable {
          Count(status, due_at);
          if (then) then();
          // With the context goes a share of the channel, and the last share must not go on gRPC's
          // own thread, which would wait for itself.
          call.reset();
          End();
        });
  }

  LoadResult WaitForEnds() {
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [this] { return ended_count_ == result_.sent; });
    result_.elapsed = steady_clock::now() - started_at_;
    std::ranges::sort(result_.latencies);
    return std::move(result_);
  }

 private:
  void Count(const grpc::Status& status, steady_clock::time_point due_at) {
    const auto latency = std::chrono::ceil<microseconds>(steady_clock::now() - due_at);
    const std::lock_guard lock(mutex_);
    if (status.ok()) {
      ++result_.ok;
      result_.latencies.push_back(latency);
    } else if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED &&
               TellsWhenToRetry(status)) {
      ++result_.refused;
    } else {
      ++result_.lost[std::to_string(status.error_code()) + " " + status.error_message()];
    }
  }

  void End() {
    const std::lock_guard lock(mutex_);
    ++ended_count_;
    ended_.notify_all();
  }

  std::vector<std::unique_ptr<v1::ImageGenerationService::Stub>> stubs_;
  v1::GenerateImagesRequest request_;
  const steady_clock::time_point started_at_ = steady_clock::now();
  std::mutex mutex_;
  std::condition_variable ended_;
  LoadResult result_;
  int64_t ended_count_ = 0;
};

}  // namespace

microseconds LoadResult::Percentile(double share) const {
  if (latencies.empty()) return microseconds(0);
  const auto index = static_cast<size_t>(share * static_cast<double>(latencies.size()));
  return latencies[std::min(index, latencies.size() - 1)];
}

LoadResult SendOpenLoop(const std::vector<std::shared_ptr<grpc::Channel>>& channels,
                        const v1::ImageParameters& parameters, double per_second,
                        std::chrono::milliseconds duration) {
  Sender sender(channels, parameters);
  const auto start = steady_clock::now();
  const auto gap = std::chrono::duration_cast<steady_clock::duration>(
      std::chrono::duration<double>(1.0 / per_second));
  for (auto due_at = start; due_at < start + duration; due_at += gap) {
    std::this_thread::sleep_until(due_at);
    sender.Send(due_at);
  }
  return sender.WaitForEnds();
}

LoadResult SendClosedLoop(const std::vector<std::shared_ptr<grpc::Channel>>& channels,
                          const v1::ImageParameters& parameters, int at_a_time,
                          std::chrono::milliseconds duration) {
  Sender sender(channels, parameters);
  const auto stop_at = steady_clock::now() + duration;
  std::function<void()> send_next = [&] {
    const auto now = steady_clock::now();
    if (now < stop_at) sender.Send(now, send_next);
  };
  for (int i = 0; i < at_a_time; ++i) send_next();
  return sender.WaitForEnds();
}

}  // namespace tightfit
