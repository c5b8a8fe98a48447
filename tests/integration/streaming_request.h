// StreamingRequest: one StreamImages call, read on a thread of its own.
#ifndef TIGHTFIT_TESTS_INTEGRATION_STREAMING_REQUEST_H_
#define TIGHTFIT_TESTS_INTEGRATION_STREAMING_REQUEST_H_

#include "tightfit/v1/image_generation.grpc.pb.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace tightfit {

class StreamingRequest {
 public:
  StreamingRequest(const std::shared_ptr<grpc::Channel>& channel, v1::ImageParameters parameters);
  // Cancels the call if it still runs.
  ~StreamingRequest();

  // True once the server has said that it waits, or runs; false when the call ended before.
  bool WaitForQueued();
  bool WaitForStarted();
  // The status of the end; waits for it.
  grpc::Status Finish();

  int finished_image_count() const { return finished_image_count_; }
  bool completed() const { return completed_; }

 private:
  std::unique_ptr<v1::ImageGenerationService::Stub> stub_;
  grpc::ClientContext context_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool queued_ = false;
  bool started_ = false;
  bool ended_ = false;
  int finished_image_count_ = 0;
  bool completed_ = false;
  grpc::Status status_;
  std::thread reader_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_INTEGRATION_STREAMING_REQUEST_H_
