#include "tests/integration/streaming_request.h"

#include <utility>

namespace tightfit {

StreamingRequest::StreamingRequest(const std::shared_ptr<grpc::Channel>& channel,
                                   v1::ImageParameters parameters)
    : stub_(v1::ImageGenerationService::NewStub(channel)) {
  v1::StreamImagesRequest request;
  *request.mutable_parameters() = std::move(parameters);
  reader_ = std::thread([this, request = std::move(request)] {
    const auto stream = stub_->StreamImages(&context_, request);
    v1::StreamImagesResponse event;
    while (stream->Read(&event)) {
      const std::lock_guard lock(mutex_);
      queued_ = queued_ || event.has_queued();
      started_ = started_ || event.has_started();
      completed_ = completed_ || event.has_completed();
      if (event.has_image_chunk() && event.image_chunk().last()) ++finished_image_count_;
      changed_.notify_all();
    }
    const grpc::Status status = stream->Finish();
    const std::lock_guard lock(mutex_);
    status_ = status;
    ended_ = true;
    changed_.notify_all();
  });
}

StreamingRequest::~StreamingRequest() {
  context_.TryCancel();
  reader_.join();
}

bool StreamingRequest::WaitForQueued() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return queued_ || ended_; });
  return queued_;
}

bool StreamingRequest::WaitForStarted() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return started_ || ended_; });
  return started_;
}

grpc::Status StreamingRequest::Finish() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return ended_; });
  return status_;
}

}  // namespace tightfit
