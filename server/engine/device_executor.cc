#include "server/engine/device_executor.h"

#include "server/engine/generation_run.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

// Requests whose durations predict how soon a place in the queue gets free.
constexpr size_t kRecentDurations = 16;

constexpr std::chrono::milliseconds kShortestRetry{100};
constexpr std::chrono::milliseconds kDefaultRetry{1000};
constexpr std::chrono::milliseconds kLongestRetry{60000};

ExecutorObserver* NoObserver() {
  static ExecutorObserver* const observer = new ExecutorObserver;
  return observer;
}

Status Draining() {
  return Status(StatusCode::kUnavailable, "DRAINING", "the server is shutting down")
      .WithRetryAfter(kDefaultRetry);
}

}  // namespace

class DeviceExecutor::Impl {
 public:
  Impl(ModelRegistry* registry, ModelLoader loader, ExecutorOptions options, const Clock* clock,
       ExecutorObserver* observer)
      : registry_(registry),
        loader_(std::move(loader)),
        options_(std::move(options)),
        clock_(clock),
        metrics_(observer != nullptr ? observer : NoObserver()) {}

  ~Impl() {
    {
      const std::lock_guard lock(mutex_);
      draining_ = true;
      stopping_ = true;
    }
    wake_.notify_all();
    if (thread_.joinable()) thread_.join();
    EndAll();
  }

  void Start(std::function<void()> on_ready) {
    thread_ = std::thread([this, on_ready = std::move(on_ready)] {
      if (options_.thread_init) options_.thread_init();
      LoadModels();
      if (on_ready) on_ready();
      Serve();
      // Samplings and models die on the thread that made them.
      EndAll();
      for (const ModelSnapshot& snapshot : registry_->List()) {
        if (snapshot.state == ModelState::kResident) registry_->SetUnloaded(snapshot.spec.name);
      }
    });
  }

  Status Submit(GenerationParameters parameters, std::shared_ptr<GenerationObserver> observer,
                std::shared_ptr<Cancellation> cancellation) {
    const std::optional<ModelSnapshot> snapshot = registry_->Find(parameters.model);
    if (!snapshot.has_value()) return ModelNotFound(parameters.model);
    std::unique_lock lock(mutex_);
    if (draining_) return Draining();
    TF_RETURN_IF_ERROR(CheckServable(*snapshot));
    const auto outstanding = static_cast<int32_t>(queue_.size()) + running_count_;
    if (outstanding >= options_.max_queued_requests + options_.max_running_requests) {
      return Status(StatusCode::kResourceExhausted, "QUEUE_FULL", "the request queue is full")
          .WithMetadata("max_queued_requests", std::to_string(options_.max_queued_requests))
          .WithRetryAfter(RetryDelayLocked());
    }
    const auto position = static_cast<int32_t>(queue_.size());
    // Under the lock, so that it comes before whatever the executor's thread reports.
    observer->OnQueued(position);
    queue_.push_back({std::move(parameters), std::move(observer), std::move(cancellation),
                      clock_->Now(), position});
    ++unfinished_count_;
    const auto queued = static_cast<int32_t>(queue_.size());
    const int32_t running = running_count_;
    lock.unlock();
    wake_.notify_all();
    metrics_->OnQueueDepth(queued, running);
    return OkStatus();
  }

  void Poke() {
    // The lock orders this after the cancellation that the caller has set.
    { const std::lock_guard lock(mutex_); }
    wake_.notify_all();
  }

  void StopAccepting() {
    const std::lock_guard lock(mutex_);
    draining_ = true;
  }

  bool Drain(std::chrono::milliseconds limit) {
    std::unique_lock lock(mutex_);
    draining_ = true;
    const auto all_finished = [this] { return unfinished_count_ == 0; };
    if (finished_.wait_for(lock, limit, all_finished)) return true;
    drain_expired_ = true;
    wake_.notify_all();
    finished_.wait(lock, all_finished);
    return false;
  }

  int32_t queued_count() const {
    const std::lock_guard lock(mutex_);
    return static_cast<int32_t>(queue_.size());
  }

  int32_t running_count() const {
    const std::lock_guard lock(mutex_);
    return running_count_;
  }

 private:
  void LoadModels() {
    for (const ModelSnapshot& snapshot : registry_->List()) {
      if (snapshot.state != ModelState::kUnloaded) continue;
      {
        const std::lock_guard lock(mutex_);
        if (stopping_ || draining_) return;
      }
      Load(snapshot.spec);
    }
  }

  void Load(const ModelSpec& spec) {
    const Clock::time_point before = clock_->Now();
    registry_->SetLoading(spec.name, {});
    Result<std::unique_ptr<DiffusionModel>> loaded = CallLoader(spec);
    const std::chrono::nanoseconds duration = clock_->Now() - before;
    const Status status = loaded.status();
    if (loaded.ok()) {
      registry_->SetResident(spec.name, std::move(loaded).value());
    } else {
      registry_->SetFailed(spec.name, status);
    }
    metrics_->OnLoaded(spec.name, status, duration);
  }

  Result<std::unique_ptr<DiffusionModel>> CallLoader(const ModelSpec& spec) {
    try {
      return loader_(spec, [&](const LoadProgress& progress) {
        registry_->SetLoading(spec.name, progress);
        // Requests for models that are resident already may wait behind a load: those that were
        // cancelled must not wait for its end.
        EndCancelledQueued();
        AnnouncePositions();
      });
    } catch (const std::exception& error) {
      return Internal("the model could not be loaded", error.what());
    } catch (...) {
      return Internal("the model could not be loaded", "unknown exception");
    }
  }

  void Serve() {
    while (true) {
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [this] { return stopping_ || !queue_.empty() || !running_.empty(); });
        if (stopping_) return;
      }
      EndCancelledQueued();
      EndCancelledRunning();
      Admit();
      AnnouncePositions();
      AdvanceNext();
    }
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

  void Admit() {
    while (true) {
      std::unique_lock lock(mutex_);
      if (queue_.empty() || running_count_ >= options_.max_running_requests) return;
      auto run =
          std::make_unique<GenerationRun>(std::move(queue_.front()), registry_, clock_, metrics_);
      queue_.pop_front();
      ++running_count_;
      const auto queued = static_cast<int32_t>(queue_.size());
      const int32_t running = running_count_;
      lock.unlock();
      metrics_->OnQueueDepth(queued, running);
      run->Start();
      running_.push_back(std::move(run));
    }
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
      request.observer->OnFinished(StatusOfCancellation(cause, "queued", 0), timings);
      CountFinished();
    }
  }

  void EndCancelledRunning() {
    const Clock::time_point now = clock_->Now();
    bool cancel_all = false;
    {
      const std::lock_guard lock(mutex_);
      cancel_all = drain_expired_ || stopping_;
    }
    std::deque<std::unique_ptr<GenerationRun>> kept;
    for (std::unique_ptr<GenerationRun>& run : running_) {
      if (cancel_all) run->cancellation().Cancel(StatusCode::kUnavailable);
      const StatusCode cause = run->cancellation().Check(now);
      if (cause == StatusCode::kOk) {
        kept.push_back(std::move(run));
        continue;
      }
      metrics_->OnCancelled(run->parameters().model, run->stage_name());
      const Status status = StatusOfCancellation(cause, run->stage_name(), run->steps_done());
      EndRun(std::move(run), status);
    }
    running_ = std::move(kept);
  }

  // Everything of the request is free again when its observer hears of the end.
  void EndRun(std::unique_ptr<GenerationRun> run, const Status& status) {
    run->ReleaseSampling();
    {
      const std::lock_guard lock(mutex_);
      --running_count_;
      if (status.ok()) {
        recent_durations_.push_back(run->elapsed());
        if (recent_durations_.size() > kRecentDurations) recent_durations_.pop_front();
      }
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
    std::unique_lock lock(mutex_);
    const auto queued = static_cast<int32_t>(queue_.size());
    const int32_t running = running_count_;
    lock.unlock();
    metrics_->OnQueueDepth(queued, running);
  }

  // A place gets free when a running request ends: on average after the mean duration divided by
  // the number of those that run together.
  std::chrono::milliseconds RetryDelayLocked() const {
    if (recent_durations_.empty()) return kDefaultRetry;
    std::chrono::nanoseconds sum{0};
    for (const std::chrono::nanoseconds duration : recent_durations_) sum += duration;
    const auto mean = sum / static_cast<int64_t>(recent_durations_.size());
    const auto delay = std::chrono::duration_cast<std::chrono::milliseconds>(
        mean / std::max(options_.max_running_requests, 1));
    return std::clamp(delay, kShortestRetry, kLongestRetry);
  }

  ModelRegistry* const registry_;
  const ModelLoader loader_;
  const ExecutorOptions options_;
  const Clock* const clock_;
  ExecutorObserver* const metrics_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;      // for the executor's thread
  std::condition_variable finished_;  // for Drain
  std::deque<QueuedRequest> queue_;
  int32_t running_count_ = 0;
  int32_t unfinished_count_ = 0;  // accepted, OnFinished not yet returned
  std::deque<std::chrono::nanoseconds> recent_durations_;
  bool draining_ = false;
  bool drain_expired_ = false;
  bool stopping_ = false;

  // The executor's thread only.
  std::deque<std::unique_ptr<GenerationRun>> running_;
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

void DeviceExecutor::Poke() { impl_->Poke(); }
void DeviceExecutor::StopAccepting() { impl_->StopAccepting(); }
bool DeviceExecutor::Drain(std::chrono::milliseconds limit) { return impl_->Drain(limit); }
int32_t DeviceExecutor::queued_count() const { return impl_->queued_count(); }
int32_t DeviceExecutor::running_count() const { return impl_->running_count(); }

}  // namespace tightfit
