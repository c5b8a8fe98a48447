// GenerationRun: one admitted request, from its start to its end, as a state machine that advances
// by one call of its model at a time.
#ifndef TIGHTFIT_SERVER_ENGINE_GENERATION_RUN_H_
#define TIGHTFIT_SERVER_ENGINE_GENERATION_RUN_H_

#include "server/base/cancellation.h"
#include "server/base/clock.h"
#include "server/base/status.h"
#include "server/engine/diffusion_model.h"
#include "server/engine/executor_observer.h"
#include "server/engine/generation.h"
#include "server/engine/model_registry.h"
#include "server/memory/device_ledger.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>

namespace tightfit {

// A request as it waits in the queue.
struct QueuedRequest {
  std::shared_ptr<const GenerationParameters> parameters;
  std::shared_ptr<GenerationObserver> observer;
  std::shared_ptr<Cancellation> cancellation;
  Clock::time_point submitted_at;
  int32_t announced_position = 0;
  // What it takes beside its model's weights, as this description says.
  int64_t bytes = 0;
  std::shared_ptr<const ModelDescription> sized_by;
};

// The status that a request ends with when `cause` (kCancelled, kDeadlineExceeded, kUnavailable)
// stopped it in `stage` ("queued" before its start) after `steps_done` steps. `closing` is why the
// server ends requests: the status for kUnavailable.
Status StatusOfCancellation(StatusCode cause, const Status& closing, std::string_view stage,
                            int32_t steps_done);

// Not thread-safe: the executor's thread makes, advances and destroys it.
class GenerationRun {
 public:
  // What a run asks of the executor.
  struct Needs {
    // Brings the model of the request to the device.
    std::function<Status(const std::function<void(const LoadProgress&)>& progress)> load;
    // Called once the model is there, where it was not when the request was admitted: brings what
    // is set aside for the request to what it takes.
    std::function<Status(MemoryReservation* activations)> reserve;
    // Called once for each of them, before they are loaded.
    std::function<Status(OnDemand what, MemoryReservation* activations)> reserve_on_demand;
    // Before a call that ran out of memory is tried once more. May be empty. Errors: DeviceLost.
    std::function<Status()> drop_caches;
  };

  // `registry`, `clock` and `metrics` must outlive the run. `activations` is what is set aside for
  // the request.
  GenerationRun(QueuedRequest request, Needs needs, MemoryReservation activations,
                ModelRegistry* registry, const Clock* clock, ExecutorObserver* metrics);

  // Tells the observer that the request starts.
  void Start();

  // Makes one call of the model and tells the observer what came of it. nullopt while calls remain,
  // else the status to end with.
  std::optional<Status> Advance();

  // Tells metrics what the request took at most; for one that ran alone, before ReleaseSampling.
  void ReportMemoryPeak() const;
  // Destroys the model's state of this request and gives back what was set aside for it.
  void ReleaseSampling();
  // Tells the observer the end. ReleaseSampling must come first, Finish is the last call.
  void Finish(const Status& status);

  const GenerationParameters& parameters() const { return *request_.parameters; }
  Cancellation& cancellation() const { return *request_.cancellation; }
  // Where the request is.
  Stage stage() const { return stage_; }
  std::string_view stage_name() const { return StageName(stage_); }
  int32_t steps_done() const { return steps_done_; }
  // Since the start.
  std::chrono::nanoseconds elapsed() const { return clock_->Now() - started_at_; }

 private:
  std::optional<Status> LoadModel();
  // Leaves kModelLoad with the model on the device.
  std::optional<Status> EndLoad();
  std::optional<Status> Begin(DiffusionModel& model);
  // Before the model loads these weights.
  Status ReserveOnDemand(OnDemand what);
  std::optional<Status> Step(DiffusionModel& model);
  std::optional<Status> Decode(DiffusionModel& model);
  void ReportProgress();
  // Adds to the time spent inside the model's calls of `stage_`.
  void AddStageTime(std::chrono::nanoseconds duration);
  // Tells metrics about `stage_` and goes on to `next`.
  void EndStage(Stage next);

  // Calls the model; where memory runs out, drops caches and calls once more.
  template <typename Call>
  auto CallModel(const Call& call) -> decltype(call());

  QueuedRequest request_;
  const Needs needs_;
  MemoryReservation activations_;
  ModelRegistry* const registry_;
  const Clock* const clock_;
  ExecutorObserver* const metrics_;

  std::unique_ptr<Sampling> sampling_;
  bool has_fallback_ = false;
  Stage stage_ = Stage::kTextEncode;
  int32_t steps_done_ = 0;
  int64_t bytes_before_ = 0;     // of all tensors, when the request began to allocate
  int64_t on_demand_bytes_ = 0;  // of weights that this request was the first to need
  Clock::time_point started_at_;
  Clock::time_point denoise_started_at_;
  GenerationTimings timings_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_GENERATION_RUN_H_
