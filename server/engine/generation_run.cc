#include "server/engine/generation_run.h"

#include "server/engine/guarded_call.h"
#include "server/memory/memory_accounts.h"

#include <string>
#include <utility>

namespace tightfit {
namespace {

constexpr char kCallFailed[] = "the model failed";

}  // namespace

Status StatusOfCancellation(StatusCode cause, const Status& closing, std::string_view stage,
                            int32_t steps_done) {
  Status status;
  switch (cause) {
    case StatusCode::kDeadlineExceeded:
      status = Status(cause, "DEADLINE_EXCEEDED", "the deadline passed before the end of the work");
      break;
    case StatusCode::kUnavailable:
      status = closing;
      break;
    default:
      status = Status(cause, "CANCELLED", "the client cancelled the request");
      break;
  }
  return std::move(status)
      .WithMetadata("stage", std::string(stage))
      .WithMetadata("steps_done", std::to_string(steps_done));
}

GenerationRun::GenerationRun(QueuedRequest request, Needs needs, MemoryReservation activations,
                             ModelRegistry* registry, const Clock* clock, ExecutorObserver* metrics)
    : request_(std::move(request)),
      needs_(std::move(needs)),
      activations_(std::move(activations)),
      registry_(registry),
      clock_(clock),
      metrics_(metrics) {}

template <typename Call>
auto GenerationRun::CallModel(const Call& call) -> decltype(call()) {
  auto result = Guarded(kCallFailed, call);
  if (StatusOf(result).code() != StatusCode::kResourceExhausted) return result;
  metrics_->OnOutOfMemory(parameters().model, stage_);
  if (needs_.drop_caches) TF_RETURN_IF_ERROR(needs_.drop_caches());
  return Guarded(kCallFailed, call);
}

void GenerationRun::ReportMemoryPeak() const {
  const int64_t peak_bytes = MemoryAccounts::Instance().total_peak_bytes() - bytes_before_;
  if (activations_.bytes() == 0 || peak_bytes <= 0) return;
  metrics_->OnMemoryPeak(parameters().model, activations_.bytes() + on_demand_bytes_, peak_bytes);
}

void GenerationRun::ReleaseSampling() {
  sampling_.reset();
  activations_.Release();
}

void GenerationRun::Start() {
  started_at_ = clock_->Now();
  timings_.queued = started_at_ - request_.submitted_at;
  metrics_->OnQueueWait(parameters().model, timings_.queued);
  request_.observer->OnStarted(parameters());
  if (registry_->Resident(parameters().model) == nullptr) stage_ = Stage::kModelLoad;
  ReportProgress();
}

std::optional<Status> GenerationRun::Advance() {
  DiffusionModel* const model = registry_->Resident(parameters().model);
  if (model == nullptr) {
    if (stage_ == Stage::kModelLoad) return LoadModel();
    return Status(StatusCode::kAborted, "MODEL_NOT_LOADED",
                  "the model left device memory while the request ran");
  }
  if (stage_ == Stage::kModelLoad) return EndLoad();
  if (sampling_ == nullptr) return Begin(*model);
  if (sampling_->steps_done() < sampling_->step_count()) return Step(*model);
  return Decode(*model);
}

std::optional<Status> GenerationRun::LoadModel() {
  const Clock::time_point before = clock_->Now();
  const Status status = needs_.load([this](const LoadProgress&) { ReportProgress(); });
  AddStageTime(clock_->Now() - before);
  if (!status.ok()) return status;
  return EndLoad();
}

std::optional<Status> GenerationRun::EndLoad() {
  // Without a time where somebody else has brought the model meanwhile.
  if (!timings_.stages.empty()) {
    EndStage(Stage::kTextEncode);
  } else {
    stage_ = Stage::kTextEncode;
  }
  TF_RETURN_IF_ERROR(needs_.reserve(&activations_));
  ReportProgress();
  return std::nullopt;
}

Status GenerationRun::ReserveOnDemand(OnDemand what) {
  const auto held_bytes = [this] {
    const std::optional<ModelSnapshot> snapshot = registry_->Find(parameters().model);
    if (!snapshot.has_value() || snapshot->description == nullptr) return int64_t{0};
    return snapshot->description->memory.held_on_demand_bytes();
  };
  const int64_t before = held_bytes();
  TF_RETURN_IF_ERROR(needs_.reserve_on_demand(what, &activations_));
  on_demand_bytes_ += held_bytes() - before;
  return OkStatus();
}

std::optional<Status> GenerationRun::Begin(DiffusionModel& model) {
  if (parameters().init_image != nullptr) {
    TF_RETURN_IF_ERROR(ReserveOnDemand(OnDemand::kVaeEncoder));
  }
  const Clock::time_point before = clock_->Now();
  bytes_before_ = MemoryAccounts::Instance().total_bytes();
  MemoryAccounts::Instance().ResetTotalPeak();
  Result<std::unique_ptr<Sampling>> begun =
      CallModel([&]() -> Result<std::unique_ptr<Sampling>> { return model.Begin(parameters()); });
  AddStageTime(clock_->Now() - before);
  if (!begun.ok()) return begun.status();
  sampling_ = std::move(begun).value();
  request_.observer->OnPromptTokens(sampling_->prompt_tokens());
  EndStage(Stage::kDenoise);
  denoise_started_at_ = clock_->Now();
  ReportProgress();
  return std::nullopt;
}

std::optional<Status> GenerationRun::Step(DiffusionModel& model) {
  const Clock::time_point before = clock_->Now();
  Sampling* const batch[] = {sampling_.get()};
  const int32_t steps_before[] = {sampling_->steps_done()};
  const Status status = CallModel([&] { return StepOnce(model, batch, steps_before); });
  const std::chrono::nanoseconds duration = clock_->Now() - before;
  AddStageTime(duration);
  if (!status.ok()) return status;
  steps_done_ = sampling_->steps_done();
  metrics_->OnStep(parameters().model, duration);
  ReportProgress();
  if (steps_done_ == sampling_->step_count()) {
    EndStage(Stage::kVaeDecode);
    ReportProgress();
  }
  return std::nullopt;
}

std::optional<Status> GenerationRun::Decode(DiffusionModel& model) {
  if (sampling_->needs_fallback() && !has_fallback_) {
    TF_RETURN_IF_ERROR(ReserveOnDemand(OnDemand::kFp32Vae));
    has_fallback_ = true;
  }
  const Clock::time_point before = clock_->Now();
  Result<std::optional<Image>> decoded =
      CallModel([&]() -> Result<std::optional<Image>> { return model.DecodeNext(*sampling_); });
  AddStageTime(clock_->Now() - before);
  if (!decoded.ok()) return decoded.status();
  if (decoded->has_value()) {
    if ((*decoded)->decoded_again_in_fp32) metrics_->OnVaeFallback(parameters().model);
    request_.observer->OnImage(std::move(**decoded));
  }
  if (sampling_->images_done() < sampling_->image_count()) return std::nullopt;
  EndStage(Stage::kVaeDecode);
  return OkStatus();
}

void GenerationRun::Finish(const Status& status) {
  timings_.total = elapsed();
  request_.observer->OnFinished(status, timings_);
}

void GenerationRun::ReportProgress() {
  GenerationProgress progress;
  progress.stage = stage_;
  progress.step = steps_done_;
  progress.step_count = sampling_ != nullptr ? sampling_->step_count() : parameters().step_count;
  progress.elapsed = elapsed();
  if (steps_done_ > 0) {
    // Wall time per step, so that the turns of other requests count.
    const std::chrono::nanoseconds denoising = clock_->Now() - denoise_started_at_;
    progress.remaining = denoising / steps_done_ * (progress.step_count - steps_done_);
  }
  request_.observer->OnProgress(progress);
}

void GenerationRun::AddStageTime(std::chrono::nanoseconds duration) {
  if (timings_.stages.empty() || timings_.stages.back().stage != stage_) {
    timings_.stages.push_back({stage_, std::chrono::nanoseconds(0)});
  }
  timings_.stages.back().duration += duration;
}

void GenerationRun::EndStage(Stage next) {
  metrics_->OnStage(parameters().model, stage_, timings_.stages.back().duration);
  stage_ = next;
}

}  // namespace tightfit
