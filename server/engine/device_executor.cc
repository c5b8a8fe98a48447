#include "server/engine/device_executor.h"

#include "server/engine/executor_refusals.h"

#include <utility>

namespace tightfit {

DeviceExecutor::DeviceExecutor(ModelRegistry* registry, ModelLoader loader, ExecutorOptions options,
                               const Clock* clock, ExecutorObserver* observer)
    : registry_(registry),
      options_(std::move(options)),
      clock_(clock),
      metrics_(observer != nullptr ? observer : &no_observer_),
      ledger_(options_.ledger != nullptr ? options_.ledger : &unlimited_),
      residency_(registry, std::move(loader), options_.describe, ledger_, clock, metrics_,
                 options_.run_look, [this] { TendSoon(); }),
      prediction_(options_.max_running_requests) {}

DeviceExecutor::~DeviceExecutor() {
  std::unique_lock lock(mutex_);
  Close();
  stopping_ = true;
  lock.unlock();
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
  EndAll();
}

void DeviceExecutor::Start(std::function<void()> on_ready) {
  thread_ = std::thread([this, on_ready = std::move(on_ready)] {
    if (options_.thread_init) options_.thread_init();
    for (const ModelSnapshot& model : registry_->List()) {
      static_cast<void>(residency_.Describe(model.spec));
    }
    Preload();
    if (on_ready) on_ready();
    Serve();
    // Samplings and models die on the thread that made them.
    EndAll();
    if (options_.thread_exit) options_.thread_exit();
    for (const ModelSnapshot& snapshot : registry_->List()) {
      if (snapshot.state == ModelState::kResident) {
        residency_.Evict(snapshot.spec.name, EvictionCause::kRequest, "shutting down",
                         Pins::kOverride);
      }
    }
    RefuseCommands();
  });
}

Status DeviceExecutor::Submit(GenerationParameters parameters,
                              std::shared_ptr<GenerationObserver> observer,
                              std::shared_ptr<Cancellation> cancellation) {
  const std::optional<ModelSnapshot> snapshot = registry_->Find(parameters.model);
  if (!snapshot.has_value()) return ModelNotFound(parameters.model);
  TF_RETURN_IF_ERROR(closing());
  TF_RETURN_IF_ERROR(CheckServable(*snapshot));
  // Sized and planned without the lock, which the device's thread needs at every turn.
  TF_ASSIGN_OR_RETURN(const int64_t bytes, AdmissionBytes(snapshot->description.get(), parameters));
  const AdmissionPlan plan = residency_.Plan(parameters.model, bytes);
  if (plan.admission == Admission::kNever) return RefusalOf(plan, ledger_->limit_bytes());
  QueuedRequest request{
      .parameters = std::make_shared<const GenerationParameters>(std::move(parameters)),
      .observer = std::move(observer),
      .cancellation = std::move(cancellation),
      .submitted_at = clock_->Now(),
      .bytes = bytes,
      .sized_by = snapshot->description};
  std::unique_lock lock(mutex_);
  TF_RETURN_IF_ERROR(closing_);
  const int32_t outstanding = queue_.size() + running_count_;
  if (outstanding >= options_.max_queued_requests + options_.max_running_requests) {
    return QueueFull(options_.max_queued_requests, plan, prediction_.RetryDelay());
  }
  request.announced_position = queue_.size();
  // Under the lock, so that it comes before whatever the executor's thread reports.
  request.observer->OnQueued(request.announced_position);
  queue_.Push(std::move(request));
  ++unfinished_count_;
  lock.unlock();
  wake_.notify_all();
  ReportDepth();
  return OkStatus();
}

RequestEstimate DeviceExecutor::Estimate(const GenerationParameters& parameters) const {
  const std::optional<ModelSnapshot> snapshot = registry_->Find(parameters.model);
  RequestEstimate estimate{.limit_bytes = ledger_->limit_bytes()};
  if (!snapshot.has_value() || snapshot->description == nullptr) return estimate;
  estimate.memory = EstimateRequest(*snapshot->description, parameters);
  const int64_t missing_bytes = MissingWeightBytes(*snapshot->description, parameters);
  estimate.plan = residency_.Plan(parameters.model, estimate.memory.peak_bytes() + missing_bytes);
  estimate.plan.request_bytes -= missing_bytes;
  estimate.plan.weight_bytes += missing_bytes;
  const std::lock_guard lock(mutex_);
  estimate.expected_wait = prediction_.ExpectedWait(int64_t{queue_.size()} + running_count_);
  return estimate;
}

void DeviceExecutor::Load(std::string model, Done done) {
  Command({[this, model] { return LoadNow(model); }, std::move(done), model});
}

void DeviceExecutor::Unload(std::string model, bool force, Done done) {
  Command({[this, model = std::move(model), force] { return UnloadNow(model, force); },
           std::move(done),
           {}});
}

Status DeviceExecutor::ChangePolicy(const std::string& model,
                                    const std::function<void(ResidencyPolicy&)>& change) {
  if (!registry_->Find(model).has_value()) return ModelNotFound(model);
  registry_->ChangePolicy(model, change);
  TendSoon();
  return OkStatus();
}

void DeviceExecutor::TendSoon() {
  {
    const std::lock_guard lock(mutex_);
    tend_soon_ = true;
  }
  wake_.notify_all();
}

void DeviceExecutor::Wake() {
  // The lock orders this after the cancellation that the caller has set.
  { const std::lock_guard lock(mutex_); }
  wake_.notify_all();
}

void DeviceExecutor::StopAccepting() {
  const std::lock_guard lock(mutex_);
  Close();
}

bool DeviceExecutor::Drain(std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  Close();
  const auto all_finished = [this] { return unfinished_count_ == 0; };
  if (finished_.wait_for(lock, limit, all_finished)) return true;
  drain_expired_ = true;
  wake_.notify_all();
  finished_.wait(lock, all_finished);
  return false;
}

void DeviceExecutor::Abandon(const Status& why) {
  std::unique_lock lock(mutex_);
  closing_ = why;
  drain_expired_ = true;
  lock.unlock();
  wake_.notify_all();
  RefuseCommands();
  EndCancelledQueued();
}

void DeviceExecutor::Command(PendingCommand command) {
  // Under the lock, so that none comes after the last of them was refused.
  std::unique_lock lock(mutex_);
  Status refusal = closing_;
  if (refusal.ok() && !commands_.Push(command)) refusal = TooManyCommands();
  lock.unlock();
  if (!refusal.ok()) return command.done(refusal);
  wake_.notify_all();
}

void DeviceExecutor::RefuseCommands() {
  while (std::optional<PendingCommand> command = commands_.Pop()) command->done(closing());
}

void DeviceExecutor::Close() {
  if (closing_.ok()) closing_ = Draining();
}

Status DeviceExecutor::closing() const {
  const std::lock_guard lock(mutex_);
  return closing_;
}

void DeviceExecutor::AnnouncePositions() {
  std::unique_lock lock(mutex_);
  const auto moves = queue_.TakeMoves();
  lock.unlock();
  for (const auto& [observer, position] : moves) observer->OnQueued(position);
}

void DeviceExecutor::EndCancelledQueued() {
  const Clock::time_point now = clock_->Now();
  std::unique_lock lock(mutex_);
  const auto ended = queue_.TakeEnded(now, drain_expired_ || stopping_);
  lock.unlock();
  if (ended.empty()) return;
  ReportDepth();
  for (const auto& [request, cause] : ended) {
    metrics_->OnCancelled(request.parameters->model, "queued");
    GenerationTimings timings;
    timings.queued = now - request.submitted_at;
    request.observer->OnFinished(StatusOfCancellation(cause, closing(), "queued", 0), timings);
    CountFinished();
  }
}

void DeviceExecutor::CountFinished() {
  {
    const std::lock_guard lock(mutex_);
    --unfinished_count_;
  }
  finished_.notify_all();
}

void DeviceExecutor::ReportDepth() {
  // One at a time, so that the last to report has seen the last change.
  const std::lock_guard one_report(depth_mutex_);
  std::unique_lock lock(mutex_);
  const int32_t queued = queue_.size();
  const int32_t running = running_count_;
  lock.unlock();
  metrics_->OnQueueDepth(queued, running);
}

int64_t DeviceExecutor::limit_bytes() const { return ledger_->limit_bytes(); }
int64_t DeviceExecutor::reserved_bytes() const { return ledger_->reserved_bytes(); }

int32_t DeviceExecutor::queued_count() const {
  const std::lock_guard lock(mutex_);
  return queue_.size();
}

int32_t DeviceExecutor::running_count() const {
  const std::lock_guard lock(mutex_);
  return running_count_;
}

}  // namespace tightfit
