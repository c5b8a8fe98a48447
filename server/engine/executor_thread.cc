// What the executor's thread does, turn by turn: commands, cancelled requests, admission, one call.
#include "server/base/device_loss.h"
#include "server/engine/device_executor.h"
#include "server/engine/executor_refusals.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace tightfit {
namespace {

constexpr Clock::time_point::duration kShortestIdleWait = std::chrono::milliseconds(1);

}  // namespace

template <typename StatusOf>
void DeviceExecutor::EndRunning(const StatusOf& status_of) {
  std::deque<std::unique_ptr<GenerationRun>> kept;
  for (std::unique_ptr<GenerationRun>& run : running_) {
    const std::optional<Status> status = status_of(*run);
    if (status.has_value()) {
      EndRun(std::move(run), *status);
    } else {
      kept.push_back(std::move(run));
    }
  }
  running_ = std::move(kept);
}

void DeviceExecutor::RunNextCommand() {
  if (!closing().ok()) return RefuseCommands();
  if (std::optional<PendingCommand> command = commands_.Pop()) command->done(command->run());
}

void DeviceExecutor::Preload() {
  for (const ModelSnapshot& snapshot : registry_->List()) {
    if (!snapshot.spec.preload || snapshot.state != ModelState::kUnloaded) continue;
    if (!closing().ok()) return;
    const AdmissionPlan plan = residency_.Plan(snapshot.spec.name, 0);
    if (plan.admission == Admission::kNever) {
      registry_->SetFailed(snapshot.spec.name, RefusalOf(plan, ledger_->limit_bytes()));
    } else if (plan.evictions.empty()) {
      // What came of it the registry tells.
      static_cast<void>(BringToDevice(snapshot.spec.name, "preload"));
    } else {
      registry_->SetUnloaded(snapshot.spec.name, "no room beside the models preloaded before");
    }
  }
}

Status DeviceExecutor::BringToDevice(const std::string& model, const std::string& reason) {
  const Status brought = residency_.EnsureResident(
      model, reason, [this](const LoadProgress&) { return WhileLoading(); });
  return IsLoadStopped(brought) ? closing() : brought;
}

bool DeviceExecutor::WhileLoading() {
  EndCancelledQueued();
  AnnouncePositions();
  const std::lock_guard lock(mutex_);
  return !drain_expired_ && !stopping_;
}

bool DeviceExecutor::IsAwaited(const std::string& model, const Cancellation& cancellation) const {
  if (cancellation.Check(clock_->Now()) == StatusCode::kOk) return true;
  const std::lock_guard lock(mutex_);
  return queue_.Wants(model) || commands_.Loads(model);
}

Status DeviceExecutor::LoadNow(const std::string& model) {
  measured_ = nullptr;
  return BringToDevice(model, "LoadModel");
}

Status DeviceExecutor::LoadForRequest(const std::string& model,
                                      const std::shared_ptr<Cancellation>& cancellation,
                                      const std::function<void(const LoadProgress&)>& progress) {
  const std::optional<ModelSnapshot> snapshot = registry_->Find(model);
  if (snapshot.has_value()) TF_RETURN_IF_ERROR(CheckServable(*snapshot));
  const Status brought = residency_.EnsureResident(model, "request", [&](const LoadProgress& done) {
    progress(done);
    return WhileLoading() && IsAwaited(model, *cancellation);
  });
  if (!IsLoadStopped(brought)) return brought;
  // It was either this request's end or that of all.
  const StatusCode own = cancellation->Check(clock_->Now());
  metrics_->OnCancelled(model, StageName(Stage::kModelLoad));
  return StatusOfCancellation(own != StatusCode::kOk ? own : StatusCode::kUnavailable, closing(),
                              StageName(Stage::kModelLoad), 0);
}

Status DeviceExecutor::ReserveActivations(
    const std::shared_ptr<const GenerationParameters>& parameters, MemoryReservation* activations) {
  const std::string& model = parameters->model;
  const std::optional<ModelSnapshot> snapshot = registry_->Find(model);
  if (!snapshot.has_value()) return ModelNotFound(model);
  TF_ASSIGN_OR_RETURN(const int64_t bytes,
                      AdmissionBytes(snapshot->description.get(), *parameters));
  return residency_.ReserveActivations(model, bytes, activations);
}

Status DeviceExecutor::ReserveOnDemand(
    const std::shared_ptr<const GenerationParameters>& parameters, OnDemand what,
    MemoryReservation* activations) {
  const std::string& model = parameters->model;
  const std::optional<ModelSnapshot> snapshot = registry_->Find(model);
  if (!snapshot.has_value()) return ModelNotFound(model);
  const VaeUse vae = what == OnDemand::kFp32Vae ? VaeUse::kFp32Fallback : VaeUse::kOwn;
  TF_ASSIGN_OR_RETURN(const int64_t bytes,
                      RequestBytes(snapshot->description.get(), *parameters, vae));
  return residency_.ReserveOnDemand(model, what, bytes, activations);
}

Status DeviceExecutor::UnloadNow(const std::string& model, bool force) {
  const std::optional<ModelSnapshot> snapshot = registry_->Find(model);
  if (!snapshot.has_value()) return ModelNotFound(model);
  if (snapshot->state == ModelState::kFailed) residency_.LookAt(snapshot->spec);
  if (snapshot->state != ModelState::kResident) return OkStatus();
  if (snapshot->running_count > 0 && !force) return ModelInUse(*snapshot);
  EndRunning([&](const GenerationRun& run) -> std::optional<Status> {
    if (run.parameters().model != model) return std::nullopt;
    return Preempted(run);
  });
  if (residency_.Evict(model, EvictionCause::kRequest, "UnloadModel",
                       force ? Pins::kOverride : Pins::kRespect)) {
    // The device may have been lost in it.
    const Status why = closing();
    return IsDeviceLost(why) ? why : OkStatus();
  }
  return ModelPinned(*snapshot);
}

void DeviceExecutor::Serve() {
  while (true) {
    const std::set<std::string> wanted = TakeWanted();
    const auto next_look = closing().ok() ? residency_.Tend(wanted) : std::nullopt;
    {
      std::unique_lock lock(mutex_);
      const auto has_work = [this] {
        return stopping_ || tend_soon_ || !queue_.empty() || !running_.empty() ||
               !commands_.empty();
      };
      if (next_look.has_value()) {
        wake_.wait_for(lock, std::max(*next_look - clock_->Now(), kShortestIdleWait), has_work);
      } else {
        wake_.wait(lock, has_work);
      }
      if (stopping_) return;
    }
    RunNextCommand();
    EndCancelledQueued();
    EndCancelledRunning();
    Admit();
    AnnouncePositions();
    AdvanceNext();
  }
}

std::set<std::string> DeviceExecutor::TakeWanted() {
  const std::lock_guard lock(mutex_);
  tend_soon_ = false;
  return queue_.WantedModels();
}

void DeviceExecutor::AdvanceNext() {
  if (running_.empty()) return;
  std::unique_ptr<GenerationRun> run = std::move(running_.front());
  running_.pop_front();
  const std::optional<Status> end = run->Advance();
  if (end.has_value()) {
    EndRun(std::move(run), *end);
  } else {
    running_.push_back(std::move(run));
  }
}

bool DeviceExecutor::IsLoading() const {
  return std::ranges::any_of(running_, [](const std::unique_ptr<GenerationRun>& run) {
    return run->stage() == Stage::kModelLoad;
  });
}

void DeviceExecutor::Admit() {
  while (true) {
    std::unique_lock lock(mutex_);
    if (queue_.empty() || running_count_ >= options_.max_running_requests || IsLoading()) return;
    const std::shared_ptr<const GenerationParameters> parameters = queue_.front().parameters;
    const bool runs_alone = running_count_ == 0;
    lock.unlock();
    const std::string& model = parameters->model;
    const std::optional<ModelSnapshot> snapshot = registry_->Find(model);
    if (snapshot.has_value() && IsUnmeasured(*snapshot) && !runs_alone) return;
    Status admitted = snapshot.has_value() ? CheckServable(*snapshot) : ModelNotFound(model);
    AdmissionPlan plan;
    if (admitted.ok()) {
      const Result<int64_t> bytes = SizeFirst(snapshot->description, *parameters);
      admitted = bytes.status();
      if (bytes.ok()) plan = residency_.Plan(model, *bytes);
    }
    if (admitted.ok() && plan.admission == Admission::kLater && !runs_alone) return;
    if (admitted.ok() && plan.admission != Admission::kNow) {
      admitted = RefusalOf(plan, ledger_->limit_bytes());
    }
    MemoryReservation activations;
    if (admitted.ok()) {
      const Result<bool> is_made = residency_.MakeRoom(model, plan, &activations);
      if (is_made.ok() && !*is_made) continue;
      admitted = is_made.status();
    }
    lock.lock();
    if (queue_.empty()) return residency_.ReleaseIfNotResident(model);  // abandoned meanwhile
    QueuedRequest request = queue_.PopFront();
    ++running_count_;
    lock.unlock();
    ReportDepth();
    StartRun(std::move(request), std::move(activations), admitted);
  }
}

Result<int64_t> DeviceExecutor::SizeFirst(
    const std::shared_ptr<const ModelDescription>& description,
    const GenerationParameters& parameters) {
  {
    const std::lock_guard lock(mutex_);
    if (!queue_.empty() && queue_.front().sized_by == description) return queue_.front().bytes;
  }
  TF_ASSIGN_OR_RETURN(const int64_t bytes, AdmissionBytes(description.get(), parameters));
  const std::lock_guard lock(mutex_);
  if (queue_.empty()) return bytes;
  queue_.front().bytes = bytes;
  queue_.front().sized_by = description;
  return bytes;
}

void DeviceExecutor::StartRun(QueuedRequest request, MemoryReservation activations,
                              const Status& admitted) {
  const std::shared_ptr<const GenerationParameters> parameters = request.parameters;
  const std::shared_ptr<Cancellation> cancellation = request.cancellation;
  const std::string& model = parameters->model;
  auto run = std::make_unique<GenerationRun>(
      std::move(request),
      GenerationRun::Needs{
          .load = std::bind_front(&DeviceExecutor::LoadForRequest, this, model, cancellation),
          .reserve = std::bind_front(&DeviceExecutor::ReserveActivations, this, parameters),
          .reserve_on_demand = std::bind_front(&DeviceExecutor::ReserveOnDemand, this, parameters),
          .drop_caches = options_.drop_caches},
      std::move(activations), registry_, clock_, metrics_);
  registry_->CountRunning(model, +1, clock_->Now());
  // A peak is one request's only where it runs alone from begin to end.
  measured_ = running_.empty() ? run.get() : nullptr;
  if (!admitted.ok()) {
    EndRun(std::move(run), admitted);
    return;
  }
  run->Start();
  running_.push_back(std::move(run));
}

void DeviceExecutor::EndCancelledRunning() {
  const Clock::time_point now = clock_->Now();
  std::unique_lock lock(mutex_);
  const bool cancel_all = drain_expired_ || stopping_;
  lock.unlock();
  EndRunning([&](const GenerationRun& run) -> std::optional<Status> {
    if (cancel_all) run.cancellation().Cancel(StatusCode::kUnavailable);
    const StatusCode cause = run.cancellation().Check(now);
    if (cause == StatusCode::kOk) return std::nullopt;
    metrics_->OnCancelled(run.parameters().model, run.stage_name());
    return StatusOfCancellation(cause, closing(), run.stage_name(), run.steps_done());
  });
}

void DeviceExecutor::EndRun(std::unique_ptr<GenerationRun> run, const Status& status) {
  if (run.get() == measured_) {
    measured_ = nullptr;
    if (status.ok()) run->ReportMemoryPeak();
  }
  run->ReleaseSampling();
  registry_->CountRunning(run->parameters().model, -1, clock_->Now());
  residency_.ReleaseIfNotResident(run->parameters().model);
  {
    const std::lock_guard lock(mutex_);
    --running_count_;
    if (status.ok()) prediction_.Add(run->elapsed());
  }
  ReportDepth();
  run->Finish(status);
  run.reset();
  CountFinished();
}

void DeviceExecutor::EndAll() {
  EndCancelledQueued();
  EndCancelledRunning();
}

}  // namespace tightfit
