#include "tests/integration/good_clients.h"

#include "tightfit/v1/image_generation.grpc.pb.h"

#include <grpcpp/client_context.h>

#include <algorithm>

namespace tightfit {

GoodClients::GoodClients(const std::vector<std::shared_ptr<grpc::Channel>>& channels) {
  for (const auto& channel : channels) threads_.emplace_back([this, channel] { Ask(channel); });
}

GoodClients::~GoodClients() { Stop(); }

void GoodClients::Stop() {
  stopping_ = true;
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  std::ranges::sort(durations_);
}

std::chrono::nanoseconds GoodClients::Percentile(double part) const {
  if (durations_.empty()) return std::chrono::nanoseconds::max();
  const auto index = static_cast<size_t>(part * static_cast<double>(durations_.size() - 1));
  return durations_[index];
}

void GoodClients::Ask(const std::shared_ptr<grpc::Channel>& channel) {
  const auto stub = v1::ImageGenerationService::NewStub(channel);
  v1::GenerateImagesRequest request;
  request.mutable_parameters()->set_prompt("a prompt");
  request.mutable_parameters()->set_step_count(2);
  const auto ask = [&] {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    v1::GenerateImagesResponse response;
    return stub->GenerateImages(&context, request, &response);
  };
  while (!stopping_) {
    const auto start = std::chrono::steady_clock::now();
    grpc::Status status = ask();
    // gRPC closes connections where its memory is short, a good client's too. The clients of this
    // project send such a call again.
    for (int i = 0; i < 3 && status.error_code() == grpc::StatusCode::UNAVAILABLE; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      status = ask();
    }
    const auto duration = std::chrono::steady_clock::now() - start;
    {
      const std::lock_guard lock(mutex_);
      durations_.push_back(duration);
      if (!status.ok() && failure_.empty()) {
        failure_ = std::to_string(status.error_code()) + " " + status.error_message();
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace tightfit
