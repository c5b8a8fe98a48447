#include "server/engine/device_executor.h"

#include "server/engine/command_queue.h"
#include "server/engine/generation_run.h"
#include "server/engine/model_residency.h"
#include "server/engine/wait_prediction.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <limits>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

constexpr std::chrono::milliseconds kRetry{1000};
constexpr Clock::time_point::duration kShortestIdleWait = std::chrono::milliseconds(1);

ExecutorObserver* NoObserver() {
  static ExecutorObserver* const observer = new ExecutorObserver;
  return observer;
}

Status Draining() {
  return Status(StatusCode::kUnavailable, "DRAINING", "the server is shutting down")
      .WithRetryAfter(kRetry);
}

}  // namespace

class DeviceExecutor::Impl {
 public:
  Impl(ModelRegistry* registry, ModelLoader loader, ExecutorOptions options, const Clock* clock,
       ExecutorObserver* observer)
      : registry_(registry),
        options_(std::move(options)),
        clock_(clock),
        metrics_(observer != nullptr ? observer : NoObserver()),
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
    std::unique_lock lock(mutex_);
    TF_RETURN_IF_ERROR(closing_);
    TF_RETURN_IF_ERROR(CheckServable(*snapshot));
    const RoomPlan plan = residency_.Plan(parameters.model, BytesOf(*snapshot, parameters));
    if (plan.room == Room::kNever) return RefusalOf(plan, ledger_->limit_bytes());
    const auto outstanding = static_cast<int32_t>(queue_.size()) + running_count_;
    if (outstanding >= options_.max_queued_requests + options_.max_running_requests) {
      return Status(StatusCode::kResourceExhausted, "QUEUE_FULL", "the request queue is full")
          .WithMetadata("max_queued_requests", std::to_string(options_.max_queued_requests))
          .WithMetadata("needed_bytes", std::to_string(plan.needed_bytes()))
          .WithMetadata("free_bytes", std::to_string(plan.free_bytes))
          .WithMetadata("evictable_bytes", std::to_string(plan.evictable_bytes))
          .WithRetryAfter(prediction_.RetryDelay());
    }
    const auto position = static_cast<int32_t>(queue_.size());
    // Under the lock, so that it comes before whatever the executor's thread reports.
    observer->OnQueued(position);
    queue_.push_back({std::move(parameters), std::move(observer), std::move(cancellation),
                      clock_->Now(), position});
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
    estimate.expected_wait =
        prediction_.ExpectedWait(static_cast<int64_t>(queue_.size()) + running_count_);
    return estimate;
  }

  void Load(std::string model, Done done) {
    Command([this, model = std::move(model)] { return LoadNow(model); }, std::move(done));
  }

  void Unload(std::string model, bool force, Done done) {
    Command([this, model = std::move(model), force] { return UnloadNow(model, force); },
            std::move(done));
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

  void Poke() {
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
    return static_cast<int32_t>(queue_.size());
  }

  int32_t running_count() const {
    const std::lock_guard lock(mutex_);
    return running_count_;
  }

 private:
  void Command(std::function<Status()> run, Done done) {
    PendingCommand command{std::move(run), std::move(done)};
    // Under the lock, so that none comes after the last of them was refused.
    std::unique_lock lock(mutex_);
    Status refusal = closing_;
    if (refusal.ok() && !commands_.Push(command)) {
      refusal = Status(StatusCode::kResourceExhausted, "QUEUE_FULL",
                       "too many models wait to be loaded or unloaded")
                    .WithRetryAfter(kRetry);
    }
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
      const RoomPlan plan = residency_.Plan(snapshot.spec.name, 0);
      if (plan.room == Room::kNever) {
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
    return residency_.Bring(model, reason, [this](const LoadProgress&) { WhileLoading(); });
  }

  // Requests may wait behind a load: those that were cancelled must not wait for its end.
  void WhileLoading() {
    EndCancelledQueued();
    AnnouncePositions();
  }

  Status LoadNow(const std::string& model) {
    measured_ = nullptr;
    return BringToDevice(model, "LoadModel");
  }

  // For the run of an admitted request.
  Status LoadForRequest(const std::string& model,
                        const std::function<void(const LoadProgress&)>& progress) {
    const std::optional<ModelSnapshot> snapshot = registry_->Find(model);
    if (snapshot.has_value()) TF_RETURN_IF_ERROR(CheckServable(*snapshot));
    return residency_.Bring(model, "request", [&](const LoadProgress& done) {
      progress(done);
      WhileLoading();
    });
  }

  // What a model takes is known for certain once it is loaded.
  Status SetAside(const GenerationParameters& parameters, MemoryReservation* activations) {
    const std::optional<ModelSnapshot> snapshot = registry_->Find(parameters.model);
    if (!snapshot.has_value()) return ModelNotFound(parameters.model);
    return residency_.SetAside(parameters.model, BytesOf(*snapshot, parameters), activations);
  }

  Status UnloadNow(const std::string& model, bool force) {
    const std::optional<ModelSnapshot> snapshot = registry_->Find(model);
    if (!snapshot.has_value()) return ModelNotFound(model);
    if (snapshot->state != ModelState::kResident) return OkStatus();
    if (snapshot->running_count > 0 && !force) {
      return Status(StatusCode::kFailedPrecondition, "MODEL_IN_USE",
                    "requests run on the model; wait for them, or force its unloading")
          .WithMetadata("model", model)
          .WithMetadata("running_request_count", std::to_string(snapshot->running_count));
    }
    EndRunning([&](const GenerationRun& run) -> std::optional<Status> {
      if (run.parameters().model != model) return std::nullopt;
      return Status(StatusCode::kAborted, "PREEMPTED", "the model was unloaded by force")
          .WithMetadata("stage", std::string(run.stage_name()))
          .WithMetadata("steps_done", std::to_string(run.steps_done()));
    });
    if (residency_.Evict(model, "UnloadModel", force ? Pins::kOverride : Pins::kRespect)) {
      return OkStatus();
    }
    return Status(StatusCode::kFailedPrecondition, "MODEL_PINNED",
                  "the model is pinned; unpin it with UpdateModel, or force its unloading")
        .WithMetadata("model", model);
  }

  void Serve() {
    while (true) {
      const std::set<std::string> wanted = TakeWanted();
      const auto next_idle = closing().ok() ? residency_.EvictIdle(wanted) : std::nullopt;
      {
        std::unique_lock lock(mutex_);
        const auto has_work = [this] {
          return stopping_ || policy_changed_ || !queue_.empty() || !running_.empty() ||
                 !commands_.empty();
        };
        if (next_idle.has_value()) {
          wake_.wait_for(lock, std::max(*next_idle - clock_->Now(), kShortestIdleWait), has_work);
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
    std::set<std::string> wanted;
    for (const QueuedRequest& request : queue_) wanted.insert(request.parameters.model);
    return wanted;
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

  // What the request takes beside its model's weights.
  static int64_t BytesOf(const ModelSnapshot& snapshot, const GenerationParameters& parameters) {
    if (snapshot.description == nullptr) return 0;
    return EstimateRequest(*snapshot.description, parameters).peak_bytes();
  }

  // Nobody else starts while a request waits for its model: what that takes is known only then.
  bool IsLoading() const {
    return std::ranges::any_of(running_, [](const std::unique_ptr<GenerationRun>& run) {
      return run->stage() == Stage::kModelLoad;
    });
  }

  // The model takes an unknown amount of memory: it was not loaded since the start.
  static bool IsUnmeasured(const ModelSnapshot& model) {
    return model.state != ModelState::kResident && model.description != nullptr &&
           !model.description->memory.costs.has_value();
  }

  // The first in the queue goes first: whoever needs room waits for it in front of all others, so
  // that a model that is in use gets idle. The first request of a model starts alone.
  void Admit() {
    while (true) {
      std::unique_lock lock(mutex_);
      if (queue_.empty() || running_count_ >= options_.max_running_requests || IsLoading()) return;
      const std::string model = queue_.front().parameters.model;
      const std::optional<ModelSnapshot> snapshot = registry_->Find(model);
      if (snapshot.has_value() && IsUnmeasured(*snapshot) && running_count_ > 0) return;
      const Status servable =
          snapshot.has_value() ? CheckServable(*snapshot) : ModelNotFound(model);
      const RoomPlan plan =
          residency_.Plan(model, servable.ok() ? BytesOf(*snapshot, queue_.front().parameters) : 0);
      if (servable.ok() && plan.room == Room::kLater && running_count_ > 0) return;
      lock.unlock();
      const Status admitted = servable.ok() && plan.room != Room::kNow
                                  ? RefusalOf(plan, ledger_->limit_bytes())
                                  : servable;
      MemoryReservation activations;
      if (admitted.ok() && !residency_.MakeRoom(model, plan, &activations)) continue;
      lock.lock();
      if (queue_.empty()) return residency_.ForgetUnloaded(model);  // abandoned meanwhile
      QueuedRequest request = std::move(queue_.front());
      queue_.pop_front();
      ++running_count_;
      lock.unlock();
      ReportDepth();
      Start(std::move(request), std::move(activations), admitted);
    }
  }

  void Start(QueuedRequest request, MemoryReservation activations, const Status& admitted) {
    const GenerationParameters parameters = request.parameters;
    const std::string& model = parameters.model;
    auto run = std::make_unique<GenerationRun>(
        std::move(request),
        GenerationRun::Needs{
            .load = [this, model](const auto& told) { return LoadForRequest(model, told); },
            .set_aside =
                [this, parameters](MemoryReservation* activations) {
                  return SetAside(parameters, activations);
                },
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
    std::vector<std::pair<std::shared_ptr<GenerationObserver>, int32_t>> changes;
    {
      const std::lock_guard lock(mutex_);
      int32_t position = 0;
      for (QueuedRequest& request : queue_) {
        if (request.announced_position != position) {
          request.announced_position = position;
          changes.emplace_back(request.observer, position);
        }
        ++position;
      }
    }
    for (const auto& [observer, position] : changes) observer->OnQueued(position);
  }

  void EndCancelledQueued() {
    const Clock::time_point now = clock_->Now();
    std::vector<std::pair<QueuedRequest, StatusCode>> ended;
    {
      const std::lock_guard lock(mutex_);
      for (auto it = queue_.begin(); it != queue_.end();) {
        if (drain_expired_ || stopping_) it->cancellation->Cancel(StatusCode::kUnavailable);
        const StatusCode cause = it->cancellation->Check(now);
        if (cause == StatusCode::kOk) {
          ++it;
          continue;
        }
        ended.emplace_back(std::move(*it), cause);
        it = queue_.erase(it);
      }
    }
    if (ended.empty()) return;
    ReportDepth();
    for (const auto& [request, cause] : ended) {
      metrics_->OnCancelled(request.parameters.model, "queued");
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
    residency_.ForgetUnloaded(run->parameters().model);
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
    const auto queued = static_cast<int32_t>(queue_.size());
    const int32_t running = running_count_;
    lock.unlock();
    metrics_->OnQueueDepth(queued, running);
  }

  ModelRegistry* const registry_;
  const ExecutorOptions options_;
  const Clock* const clock_;
  ExecutorObserver* const metrics_;
  // Half of what could be counted, so that sums do not overflow.
  DeviceLedger unlimited_{std::numeric_limits<int64_t>::max() / 2};
  DeviceLedger* const ledger_;
  ModelResidency residency_;

  std::mutex depth_mutex_;  // taken before mutex_
  mutable std::mutex mutex_;
  std::condition_variable wake_;      // for the executor's thread
  std::condition_variable finished_;  // for Drain
  std::deque<QueuedRequest> queue_;
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

void DeviceExecutor::Poke() { impl_->Poke(); }
void DeviceExecutor::StopAccepting() { impl_->StopAccepting(); }
bool DeviceExecutor::Drain(std::chrono::milliseconds limit) { return impl_->Drain(limit); }
void DeviceExecutor::Abandon(const Status& why) { impl_->Abandon(why); }
int64_t DeviceExecutor::limit_bytes() const { return impl_->ledger().limit_bytes(); }
int64_t DeviceExecutor::reserved_bytes() const { return impl_->ledger().reserved_bytes(); }
int32_t DeviceExecutor::queued_count() const { return impl_->queued_count(); }
int32_t DeviceExecutor::running_count() const { return impl_->running_count(); }

}  // namespace tightfit
