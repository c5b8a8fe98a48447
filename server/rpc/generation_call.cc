#include "server/rpc/generation_call.h"

#include "server/image/inpaint_area.h"
#include "server/image/latents_file.h"
#include "server/image/parameters_text.h"
#include "server/image/png.h"
#include "server/rpc/call_cancellation.h"
#include "server/rpc/mime_types.h"
#include "server/rpc/model_label.h"
#include "server/rpc/reply_size.h"

#include <exception>
#include <map>
#include <new>
#include <string>
#include <utility>

namespace tightfit {
namespace {

// The keyword under which A1111 writes its text.
constexpr char kParametersKeyword[] = "parameters";

Result<EncodedImage> EncodeImage(Image image, const AcceptedRequest& request) {
  EncodedImage encoded;
  encoded.index = image.index;
  encoded.seed = image.seed;
  encoded.width_px = image.width_px;
  encoded.height_px = image.height_px;
  if (request.parameters.output == OutputKind::kLatents) {
    encoded.mime_type = kLatentsMimeType;
    encoded.content = EncodeLatents(image.latents);
    return encoded;
  }
  encoded.mime_type = kPngMimeType;
  std::map<std::string, std::string> text;
  if (request.embed_metadata) {
    text[kParametersKeyword] = ParametersText(request.parameters, image.seed, *request.model);
  }
  RgbImage pixels{image.width_px, image.height_px, std::move(image.rgb)};
  if (request.parameters.composition != nullptr) {
    TF_ASSIGN_OR_RETURN(pixels, Composed(*request.parameters.composition, std::move(pixels)));
    encoded.width_px = pixels.width_px;
    encoded.height_px = pixels.height_px;
  }
  TF_ASSIGN_OR_RETURN(const std::vector<uint8_t> bytes, EncodePng(pixels, text));
  encoded.content.assign(bytes.begin(), bytes.end());
  return encoded;
}

}  // namespace

std::optional<Clock::time_point> DeadlineOn(const Clock& clock,
                                            std::chrono::system_clock::time_point deadline) {
  if (deadline == std::chrono::system_clock::time_point::max()) return std::nullopt;
  const auto left = deadline - std::chrono::system_clock::now();
  // gRPC's infinity is not always time_point::max() after its conversions.
  if (left > std::chrono::hours(24 * 365)) return std::nullopt;
  return clock.Now() + std::chrono::duration_cast<Clock::time_point::duration>(left);
}

GenerationCall::GenerationCall(const CallContext* context, const std::string& method,
                               const v1::ImageParameters& parameters,
                               std::chrono::system_clock::time_point deadline)
    : context_(context),
      budget_(context->image_bytes),
      received_at_(std::chrono::system_clock::now()),
      deadline_(deadline),
      record_(context->observer, context->clock, method,
              ModelLabel(parameters, *context->registry)),
      cancellation_(std::make_shared<Cancellation>(DeadlineOn(*context->clock, deadline))) {}

GenerationCall::~GenerationCall() { budget_->GiveBack(image_bytes_); }

// The executor never waits for a client, so what a slow one has not taken stays in memory.
Status GenerationCall::TakeImageBytes(int64_t bytes) {
  if (!budget_->TryTake(bytes, context_->limits.max_undelivered_image_bytes)) {
    return ImagesUndelivered();
  }
  image_bytes_ += bytes;
  return OkStatus();
}

void GenerationCall::SubmitDecoded(int64_t input_bytes,
                                   std::function<Result<AcceptedRequest>()> validate) {
  if (Status status = TakeImageBytes(input_bytes); !status.ok()) return Submit(std::move(status));
  Status posted =
      context_->decode_queue->Post([self = shared_from_this(), validate = std::move(validate)] {
        std::optional<Status> failure;
        {
          const std::lock_guard lock(self->mutex_);
          failure = self->failure_;  // nobody waits for it any more
        }
        self->Submit(failure.has_value() ? *failure : ResultOrFailure(validate));
      });
  if (!posted.ok()) Submit(std::move(posted));
}

void GenerationCall::Submit(Result<AcceptedRequest> accepted) {
  Status status = accepted.status();
  if (accepted.ok()) {
    accepted_ = std::move(accepted).value();
    record_.Describe(accepted_.parameters);
    status = TakeImageBytes(LargestUnaryReplyBytes(accepted_.parameters) +
                            InputImageBytes(accepted_.parameters));
    if (status.ok()) {
      status = context_->executor->Submit(accepted_.parameters, shared_from_this(), cancellation_);
    }
  }
  {
    const std::lock_guard lock(mutex_);
    submitted_ = true;
    if (!status.ok()) {
      ended_ = true;
      ReportEnd(status);
    }
  }
  Flush();
}

void GenerationCall::Abandon(Status cause) {
  cancellation_->Cancel(cause.code());
  context_->executor->Wake();
  {
    const std::lock_guard lock(mutex_);
    if (!failure_.has_value()) failure_ = std::move(cause);
    waiting_images_.clear();
    DropUnsent();
    if (ended_) {
      ReportEnd(*failure_);  // all was made, but not all was sent
    } else {
      EndIfDone();
    }
  }
  Flush();
}

void GenerationCall::AbandonByClient() {
  Abandon(CancellationOf(received_at_, deadline_, std::chrono::system_clock::now()));
}

void GenerationCall::OnQueued(int32_t position) {
  {
    const std::lock_guard lock(mutex_);
    if (!failure_.has_value()) ReportQueued(position);
    // The first one comes inside DeviceExecutor::Submit: gRPC is not called from there.
    if (!submitted_) return;
  }
  Flush();
}

void GenerationCall::OnStarted(const GenerationParameters&) {
  {
    const std::lock_guard lock(mutex_);
    started_at_ = context_->clock->Now();
    if (!failure_.has_value()) ReportStarted();
  }
  Flush();
}

void GenerationCall::OnProgress(const GenerationProgress& progress) {
  {
    const std::lock_guard lock(mutex_);
    last_progress_ = progress;
    if (!failure_.has_value()) ReportProgress(progress);
  }
  Flush();
}

void GenerationCall::OnPromptTokens(const std::vector<PromptTokens>& prompts) {
  const std::lock_guard lock(mutex_);
  prompt_tokens_ = prompts;
}

void GenerationCall::OnImage(Image image) {
  {
    const std::lock_guard lock(mutex_);
    if (failure_.has_value()) return;
    waiting_images_.push_back(std::move(image));
  }
  EncodeNext();
}

void GenerationCall::OnFinished(const Status& status, const GenerationTimings& timings) {
  {
    const std::lock_guard lock(mutex_);
    engine_end_ = status;
    timings_ = timings;
    if (!status.ok()) {
      waiting_images_.clear();
      DropUnsent();
    }
    EndIfDone();
  }
  Flush();
}

void GenerationCall::EncodeNext() {
  Image image;
  {
    const std::lock_guard lock(mutex_);
    if (encoding_ || waiting_images_.empty() || !HasRoomForImage()) return;
    encoding_ = true;
    image = std::move(waiting_images_.front());
    waiting_images_.pop_front();
    GenerationProgress progress = last_progress_;
    progress.stage = Stage::kImageEncode;
    progress.elapsed = context_->clock->Now() - started_at_;
    ReportProgress(progress);
  }
  Flush();
  // std::function wants copyable captures.
  auto shared_image = std::make_shared<Image>(std::move(image));
  context_->workers->Post(
      [self = shared_from_this(), shared_image] { self->Encode(std::move(*shared_image)); });
}

void GenerationCall::Encode(Image image) {
  Status failure;
  try {
    TakeEncoded(std::move(image));
  } catch (const std::bad_alloc&) {
    failure = Status(StatusCode::kResourceExhausted, "OUT_OF_MEMORY",
                     "the host's memory does not suffice to encode an image");
  } catch (const std::exception& error) {
    failure = Internal("an image could not be encoded", error.what());
  }
  if (failure.ok()) return;
  {
    const std::lock_guard lock(mutex_);
    encoding_ = false;
  }
  Abandon(std::move(failure));
}

void GenerationCall::TakeEncoded(Image image) {
  const int64_t pixels = int64_t{image.width_px} * image.height_px;
  const Clock::time_point before = context_->clock->Now();
  Result<EncodedImage> encoded = EncodeImage(std::move(image), accepted_);
  const std::chrono::nanoseconds duration = context_->clock->Now() - before;
  if (encoded.ok()) {
    context_->observer->OnStage(record_.model(), Stage::kImageEncode, duration);
    context_->observer->OnImage(record_.model(), encoded->mime_type, pixels);
  }
  bool failed = false;
  {
    const std::lock_guard lock(mutex_);
    encoding_ = false;
    encode_duration_ += duration;
    if (!encoded.ok() && !failure_.has_value()) {
      failed = true;
      failure_ = Internal("an image could not be encoded", encoded.status().ForLog());
      waiting_images_.clear();
      DropUnsent();
    }
    const bool engine_failed = engine_end_.has_value() && !engine_end_->ok();
    if (!failure_.has_value() && !engine_failed) ReportImage(std::move(encoded).value());
    EndIfDone();
  }
  if (failed) {
    cancellation_->Cancel(StatusCode::kCancelled);
    context_->executor->Wake();
  }
  Flush();
  EncodeNext();
}

// REQUIRES: mutex_ held.
void GenerationCall::EndIfDone() {
  if (ended_ || !engine_end_.has_value() || encoding_ || !waiting_images_.empty()) return;
  ended_ = true;
  ReportEnd(failure_.has_value() ? *failure_ : *engine_end_);
}

v1::Timings GenerationCall::TimingsMessage() const {
  return ToMessage(timings_, encode_duration_, context_->clock->Now() - started_at_);
}

void GenerationCall::AddPromptTokens(
    google::protobuf::RepeatedPtrField<v1::PromptTokens>* messages) const {
  for (const PromptTokens& prompt : prompt_tokens_) *messages->Add() = ToMessage(prompt);
}

}  // namespace tightfit
