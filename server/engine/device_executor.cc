#include "server/engine/device_executor.h"

#include "server/base/device_loss.h"
#include "server/engine/command_queue.h"
#include "server/engine/executor_refusals.h"
#include "server/engine/generation_run.h"
#include "server/engine/model_residency.h"
#include "server/engine/request_queue.h"
#include "server/engine/wait_prediction.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <functional>
#include <limits>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

constexpr Clock::time_point::duration kShortestIdleWait = std::chrono::milliseconds(1);

}  // namespace

class DeviceExecutor::Impl {
 public:
  Impl(ModelRegistry* registry, ModelLoader loader, ExecutorOptions options, const Clock* clock,
       ExecutorObserver* observer)
      : registry_(registry),
        options_(std::move(options)),
        clock_(clock),
        metrics_(observer != nullptr ? observer : &no_observer_),
        ledger_(options_.ledger != nullptr ? options_.ledger : &unlimited_),
        residency_(registry, std::move(loader), options_.describe, ledger_, clock, metrics_),
        prediction_(options_.max_running_requests) {}

  ~Impl() {
    std::unique_lock lock(mutex_);
    Close();
    stopping_ = true;
    lock.unlock();
    wake_.notify_all();
    if (thread_.joinable()) thread_.join();
    EndAll();
  }

  void Start(std::function<void()> on_ready) {
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
          residency_.Evict(snapshot.spec.name, "shutting down", Pins::kOverride);
        }
      }
      RefuseCommands();
    });
  }

  Status Submit(GenerationParameters parameters, std::shared_ptr<GenerationObserver> observer,
                std::shared_ptr<Cancellation> cancellation) {
    const std::optional<ModelSnapshot> snapshot = registry_->Find(parameters.model);
    if (!snapshot.has_value()) return ModelNotFound(parameters.model);
    TF_RETURN_IF_ERROR(closing());
    TF_RETURN_IF_ERROR(CheckServable(*snapshot));
    // Sized and planned without the lock, which the device's thread needs at every turn.
    TF_ASSIGN_OR_RETURN(const int64_t bytes, RequestBytes(snapshot->description.get(), parameters));
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

  RequestEstimate Estimate(const GenerationParameters& parameters) const {
    const std::optional<ModelSnapshot> snapshot = registry_->Find(parameters.model);
    RequestEstimate estimate{.limit_bytes = ledger_->limit_bytes()};
    if (!snapshot.has_value() || snapshot->description == nullptr) return estimate;
    estimate.memory = EstimateRequest(*snapshot->description, parameters);
    estimate.plan = residency_.Plan(parameters.model, estimate.memory.peak_bytes());
    const std::lock_guard lock(mutex_);
    estimate.expected_wait = prediction_.ExpectedWait(int64_t{queue_.size()} + running_count_);
    return estimate;
  }

  void Load(std::string model, Done done) {
    Command({[this, model] { return LoadNow(model); }, std::move(done), model});
  }

  void Unload(std::string model, bool force, Done done) {
    Command({[this, model = std::move(model), force] { return UnloadNow(model, force); },
             std::move(done),
             {}});
  }

  Status ChangePolicy(const std::string& model,
                      const std::function<void(ResidencyPolicy&)>& change) {
    if (!registry_->Find(model).has_value()) return ModelNotFound(model);
    registry_->ChangePolicy(model, change);
    {
      const std::lock_guard lock(mutex_);
      policy_changed_ = true;
    }
    wake_.notify_all();
    return OkStatus();
  }

  void Wake() {
    // The lock orders this after the cancellation that the caller has set.
    { const std::lock_guard lock(mutex_); }
    wake_.notify_all();
  }

  void StopAccepting() {
    const std::lock_guard lock(mutex_);
    Close();
  }

  bool Drain(std::chrono::milliseconds limit) {
    std::unique_lock lock(mutex_);
    Close();
    const auto all_finished = [this] { return unfinished_count_ == 0; };
    if (finished_.wait_for(lock, limit, all_finished)) return true;
    drain_expired_ = true;
    wake_.notify_all();
    finished_.wait(lock, all_finished);
    return false;
  }

  void Abandon(const Status& why) {
    std::unique_lock lock(mutex_);
    closing_ = why;
    drain_expired_ = true;
    lock.unlock();
    wake_.notify_all();
    RefuseCommands();
    EndCancelledQueued();
  }

  const DeviceLedger& ledger() const { return *ledger_; }

  int32_t queued_count() const {
    const std::lock_guard lock(mutex_);
    return queue_.size();
  }

  int32_t running_count() const {
    const std::lock_guard lock(mutex_);
    return running_count_;
  }

 private:
  void Command(PendingCommand command) {
    // Under the lock, so that none comes after the last of them was refused.
    std::unique_lock lock(mutex_);
    Status refusal = closing_;
    if (refusal.ok() && !commands_.Push(command)) refusal = TooManyCommands();
    lock.unlock();
    if (!refusal.ok()) return command.done(refusal);
    wake_.notify_all();
  }

  // One, so that running requests get their turns between two loads.
  void RunNextCommand() {
    if (!closing().ok()) return RefuseCommands();
    if (std::optional<PendingCommand> command = commands_.Pop()) command->done(command->run());
  }

  void RefuseCommands() {
    while (std::optional<PendingCommand> command = commands_.Pop()) command->done(closing());
  }

  // Refuses requests from now on. REQUIRES: mutex_ held.
  void Close() {
    if (closing_.ok()) closing_ = Draining();
  }

  Status closing() const {
    const std::lock_guard lock(mutex_);
    return closing_;
  }

  void Preload() {
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

  Status BringToDevice(const std::string& model, const std::string& reason) {
    const Status brought = residency_.EnsureResident(
        model, reason, [this](const LoadProgress&) { return WhileLoading(); });
    return IsLoadStopped(brought) ? closing() : brought;
  }

  // Requests may wait behind a load: those that were cancelled must not wait for its end. False if
  // requests are cut short, so that no load has to end.
  bool WhileLoading() {
    EndCancelledQueued();
    AnnouncePositions();
    const std::lock_guard lock(mutex_);
    return !drain_expired_ && !stopping_;
  }

  // Whether somebody waits for `model`, which is being loaded for the request of `cancellation`.
  bool IsAwaited(const std::string& model, const Cancellation& cancellation) const {
    if (cancellation.Check(clock_->Now()) == StatusCode::kOk) return true;
    const std::lock_guard lock(mutex_);
    return queue_.Wants(model) || commands_.Loads(model);
  }

  Status LoadNow(const std::string& model) {
    measured_ = nullptr;
    return BringToDevice(model, "LoadModel");
  }

  // For the run of an admitted request.
  Status LoadForRequest(const std::string& model, const std::shared_ptr<Cancellation>& cancellation,
                        const std::function<void(const LoadProgress&)>& progress) {
    const std::optional<ModelSnapshot> snapshot = registry_->Find(model);
    if (snapshot.has_value()) TF_RETURN_IF_ERROR(CheckServable(*snapshot));
    const Status brought =
        residency_.EnsureResident(model, "request", [&](const LoadProgress& done) {
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

  // What a model takes is known for certain once it is loaded.
  Status ReserveActivations(const std::shared_ptr<const GenerationParameters>& parameters,
                            VaeUse vae, MemoryReservation* activations) {
    const std::string& model = parameters->model;
    const std::optional<ModelSnapshot> snapshot = registry_->Find(model);
    if (!snapshot.has_value()) return ModelNotFound(model);
    TF_ASSIGN_OR_RETURN(const int64_t bytes,
                        RequestBytes(snapshot->description.get(), *parameters, vae));
    return vae == VaeUse::kOwn ? residency_.ReserveActivations(model, bytes, activations)
                               : residency_.ReserveFallback(model, bytes, activations);
  }

  Status UnloadNow(const std::string& model, bool force) {
    const std::optional<ModelSnapshot> snapshot = registry_->Find(model);
    if (!snapshot.has_value()) return ModelNotFound(model);
    if (snapshot->state == ModelState::kFailed) residency_.LookAt(snapshot->spec);
    if (snapshot->state != ModelState::kResident) return OkStatus();
    if (snapshot->running_count > 0 && !force) return ModelInUse(*snapshot);
    EndRunning([&](const GenerationRun& run) -> std::optional<Status> {
      if (run.parameters().model != model) return std::nullopt;
      return Preempted(run);
    });
    if (residency_.Evict(model, "UnloadModel", force ? Pins::kOverride : Pins::kRespect)) {
      // The device may have been lost in it.
      const Status why = closing();
      return IsDeviceLost(why) ? why : OkStatus();
    }
    return ModelPinned(*snapshot);
  }

  void Serve() {
    while (true) {
      const std::set<std::string> wanted = TakeWanted();
      const auto next_look = closing().ok() ? residency_.Tend(wanted) : std::nullopt;
      {
        std::unique_lock lock(mutex_);
        const auto has_work = [this] {
          return stopping_ || policy_changed_ || !queue_.empty() || !running_.empty() ||
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

  // The models that queued requests name. What changes of policies from now on, the next turn sees.
  std::set<std::string> TakeWanted() {
    const std::lock_guard lock(mutex_);
    policy_changed_ = false;
    return queue_.WantedModels();
  }

  // One call for the request whose turn it is; then it goes behind the others.
  void AdvanceNext() {
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

  // Nobody else starts while a request waits for its model: what that takes is known only then.
  bool IsLoading() const {
    return std::ranges::any_of(running_, [](const std::unique_ptr<GenerationRun>& run) {
      return run->stage() == Stage::kModelLoad;
    });
  }

  // The first in the queue goes first: whoever needs room waits for it in front of all others, so
  // that a model that is in use gets idle. The first request of a model starts alone.
  void Admit() {
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
      Start(std::move(request), std::move(activations), admitted);
    }
  }

  // The size of the first in the queue, by what is known of its model now; told once, and without
  // the lock.
  Result<int64_t> SizeFirst(const std::shared_ptr<const ModelDescription>& description,
                            const GenerationParameters& parameters) {
    {
      const std::lock_guard lock(mutex_);
      if (!queue_.empty() && queue_.front().sized_by == description) return queue_.front().bytes;
    }
    TF_ASSIGN_OR_RETURN(const int64_t bytes, RequestBytes(description.get(), parameters));
    const std::lock_guard lock(mutex_);
    if (queue_.empty()) return bytes;
    queue_.front().bytes = bytes;
    queue_.front().sized_by = description;
    return bytes;
  }

  void Start(QueuedRequest request, MemoryReservation activations, const Status& admitted) {
    const std::shared_ptr<const GenerationParameters> parameters = request.parameters;
    const std::shared_ptr<Cancellation> cancellation = request.cancellation;
    const std::string& model = parameters->model;
    auto run = std::make_unique<GenerationRun>(
        std::move(request),
        GenerationRun::Needs{
            .load = std::bind_front(&Impl::LoadForRequest, this, model, cancellation),
            .reserve = std::bind_front(&Impl::ReserveActivations, this, parameters, VaeUse::kOwn),
            .reserve_fallback =
                std::bind_front(&Impl::ReserveActivations, this, parameters, VaeUse::kFp32Fallback),
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

  // Tells every queued request whose position changed.
  void AnnouncePositions() {
    std::unique_lock lock(mutex_);
    const auto moves = queue_.TakeMoves();
    lock.unlock();
    for (const auto& [observer, position] : moves) observer->OnQueued(position);
  }

  void EndCancelledQueued() {
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

  void EndCancelledRunning() {
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

  // Ends the runs for which `status_of` gives a status.
  template <typename StatusOf>
  void EndRunning(const StatusOf& status_of) {
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

  // Everything of the request is free again when its observer hears of the end.
  void EndRun(std::unique_ptr<GenerationRun> run, const Status& status) {
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

  void EndAll() {
    EndCancelledQueued();
    EndCancelledRunning();
  }

  void CountFinished() {
    {
      const std::lock_guard lock(mutex_);
      --unfinished_count_;
    }
    finished_.notify_all();
  }

  void ReportDepth() {
    // One at a time, so that the last to report has seen the last change.
    const std::lock_guard one_report(depth_mutex_);
    std::unique_lock lock(mutex_);
    const int32_t queued = queue_.size();
    const int32_t running = running_count_;
    lock.unlock();
    metrics_->OnQueueDepth(queued, running);
  }

  ModelRegistry* const registry_;
  const ExecutorOptions options_;
  const Clock* const clock_;
  ExecutorObserver no_observer_;
  ExecutorObserver* const metrics_;
  // Half of what could be counted, so that sums do not overflow.
  DeviceLedger unlimited_{std::numeric_limits<int64_t>::max() / 2};
  DeviceLedger* const ledger_;
  ModelResidency residency_;

  std::mutex depth_mutex_;  // taken before mutex_
  mutable std::mutex mutex_;
  std::condition_variable wake_;      // for the executor's thread
  std::condition_variable finished_;  // for Drain
  RequestQueue queue_;
  CommandQueue commands_;
  int32_t running_count_ = 0;
  int32_t unfinished_count_ = 0;  // accepted, OnFinished not yet returned
  WaitPrediction prediction_;
  Status closing_;  // why requests are refused; OK while they are not
  bool drain_expired_ = false;
  bool policy_changed_ = false;
  bool stopping_ = false;

  // The executor's thread only.
  std::deque<std::unique_ptr<GenerationRun>> running_;
  const GenerationRun* measured_ = nullptr;  // runs alone
  std::thread thread_;
};

DeviceExecutor::DeviceExecutor(ModelRegistry* registry, ModelLoader loader, ExecutorOptions options,
                               const Clock* clock, ExecutorObserver* observer)
    : impl_(std::make_unique<Impl>(registry, std::move(loader), std::move(options), clock,
                                   observer)) {}

DeviceExecutor::~DeviceExecutor() = default;

void DeviceExecutor::Start(std::function<void()> on_ready) { impl_->Start(std::move(on_ready)); }

Status DeviceExecutor::Submit(GenerationParameters parameters,
                              std::shared_ptr<GenerationObserver> observer,
                              std::shared_ptr<Cancellation> cancellation) {
  return impl_->Submit(std::move(parameters), std::move(observer), std::move(cancellation));
}

RequestEstimate DeviceExecutor::Estimate(const GenerationParameters& parameters) const {
  return impl_->Estimate(parameters);
}
void DeviceExecutor::Load(std::string model, Done done) {
  impl_->Load(std::move(model), std::move(done));
}
void DeviceExecutor::Unload(std::string model, bool force, Done done) {
  impl_->Unload(std::move(model), force, std::move(done));
}
Status DeviceExecutor::ChangePolicy(const std::string& model,
                                    const std::function<void(ResidencyPolicy&)>& change) {
  return impl_->ChangePolicy(model, change);
}

void DeviceExecutor::Wake() { impl_->Wake(); }
void DeviceExecutor::StopAccepting() { impl_->StopAccepting(); }
bool DeviceExecutor::Drain(std::chrono::milliseconds limit) { return impl_->Drain(limit); }
void DeviceExecutor::Abandon(const Status& why) { impl_->Abandon(why); }
int64_t DeviceExecutor::limit_bytes() const { return impl_->ledger().limit_bytes(); }
int64_t DeviceExecutor::reserved_bytes() const { return impl_->ledger().reserved_bytes(); }
int32_t DeviceExecutor::queued_count() const { return impl_->queued_count(); }
int32_t DeviceExecutor::running_count() const { return impl_->running_count(); }

}  // namespace tightfit
