#include "server/rpc/stream_images_call.h"

#include "server/rpc/status_mapping.h"

#include <string>
#include <utility>

namespace tightfit {
namespace {

// Progress messages that may wait for the reader; beyond it the newest replaces the one before it.
constexpr int32_t kMaxWaitingProgress = 16;

}  // namespace

grpc::ServerWriteReactor<v1::StreamImagesResponse>* StreamImagesCall::Start(
    const CallContext* call_context, grpc::CallbackServerContext* rpc,
    const v1::StreamImagesRequest* request) {
  auto call = std::make_shared<StreamImagesCall>(call_context, rpc, *request);
  call->self_ = call;
  call_context->stalled_readers->Watch(call);
  call->AdmitAndSubmit(*rpc, *request);
  // gRPC calls OnDone, which may drop the last reference, only after it was given the reactor.
  return call.get();
}

StreamImagesCall::StreamImagesCall(const CallContext* call_context,
                                   grpc::CallbackServerContext* rpc,
                                   const v1::StreamImagesRequest& request)
    : GenerationCall(call_context, request, rpc->deadline()), rpc_(rpc) {}

void StreamImagesCall::ReportQueued(int32_t position) {
  v1::StreamImagesResponse message;
  message.mutable_queued()->set_position(position);
  events_.emplace_back(std::move(message));
}

void StreamImagesCall::ReportStarted() {
  v1::StreamImagesResponse message;
  message.mutable_started()->set_request_id(accepted().parameters.request_id);
  *message.mutable_started()->mutable_parameters() =
      ToMessage(accepted().parameters, *accepted().model);
  AddWarnings(accepted().warnings, message.mutable_started()->mutable_warnings());
  events_.emplace_back(std::move(message));
}

void StreamImagesCall::ReportProgress(const GenerationProgress& progress) {
  v1::StreamImagesResponse message;
  *message.mutable_progress() = ToMessage(progress);
  if (waiting_progress_count_ >= kMaxWaitingProgress) {
    auto* last = std::get_if<v1::StreamImagesResponse>(&events_.back());
    if (last != nullptr && last->has_progress()) {
      *last = std::move(message);
      return;
    }
  }
  ++waiting_progress_count_;
  events_.emplace_back(std::move(message));
}

void StreamImagesCall::ReportImage(EncodedImage image) {
  backlog_bytes_ += static_cast<int64_t>(image.content.size());
  events_.emplace_back(UnsentImage{std::move(image)});
}

void StreamImagesCall::ReportEnd(const Status& status) {
  if (!finish_called_) end_ = status;
}

void StreamImagesCall::DropUnsent() {
  events_.clear();
  waiting_progress_count_ = 0;
  backlog_bytes_ = 0;
}

bool StreamImagesCall::HasRoomForImage() const {
  return backlog_bytes_ < context().limits.max_stream_backlog_bytes;
}

bool StreamImagesCall::TakeNextMessage() {
  if (events_.empty()) {
    if (!end_.has_value() || !end_->ok() || completed_written_) return false;
    completed_written_ = true;
    writing_.Clear();
    v1::Completed& completed = *writing_.mutable_completed();
    for (v1::ImageMetadata& image : sent_images_) *completed.add_images() = std::move(image);
    *completed.mutable_timings() = TimingsMessage();
    AddPromptTokens(completed.mutable_prompt_tokens());
    return true;
  }
  Event& next = events_.front();
  if (auto* message = std::get_if<v1::StreamImagesResponse>(&next)) {
    if (message->has_progress()) --waiting_progress_count_;
    writing_ = std::move(*message);
    events_.pop_front();
    return true;
  }
  auto& unsent = std::get<UnsentImage>(next);
  writing_.Clear();
  v1::ImageChunk& chunk = *writing_.mutable_image_chunk();
  chunk = ChunkOf(unsent.image, unsent.offset_bytes, context().limits.image_chunk_bytes);
  const auto size = static_cast<int64_t>(chunk.content().size());
  unsent.offset_bytes += size;
  backlog_bytes_ -= size;
  if (chunk.last()) {
    sent_images_.push_back(MetadataOf(unsent.image));
    events_.pop_front();
  }
  return true;
}

void StreamImagesCall::Flush() {
  std::unique_lock lock(mutex_);
  if (write_in_flight_ || cancelling_ || finish_called_) return;
  if (TakeNextMessage()) {
    write_in_flight_ = true;
    write_started_at_ = context().clock->Now();
    lock.unlock();
    StartWrite(&writing_);
    return;
  }
  if (!end_.has_value()) return;
  finish_called_ = true;
  const grpc::Status status = ToGrpcStatus(*end_);
  lock.unlock();
  Finish(status);
}

void StreamImagesCall::OnWriteDone(bool ok) {
  {
    const std::lock_guard lock(mutex_);
    write_in_flight_ = false;
  }
  if (!ok) {
    AbandonByClient();
    return;
  }
  Flush();
  EncodeNext();
}

void StreamImagesCall::OnCancel() { AbandonByClient(); }

void StreamImagesCall::OnDone() {
  Status status;
  {
    const std::lock_guard lock(mutex_);
    status = *end_;
  }
  record().Finish(status);
  self_.reset();
}

void StreamImagesCall::CancelIfStalled(Clock::time_point now, std::chrono::nanoseconds limit) {
  {
    const std::lock_guard lock(mutex_);
    if (!write_in_flight_ || now - write_started_at_ < limit) return;
    // Holds Finish back, and with it OnDone, after which rpc_ would dangle.
    cancelling_ = true;
  }
  Abandon(Status(StatusCode::kCancelled, "STALLED_READER", "the client took no data for too long"));
  rpc_->TryCancel();
  {
    const std::lock_guard lock(mutex_);
    cancelling_ = false;
  }
  Flush();
}

}  // namespace tightfit
