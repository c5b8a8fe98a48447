// DeviceExecutor: the one thread that runs a device. It loads the models, owns all running requests
// and makes one call of a DiffusionModel at a time, in turns over the running requests; between two
// calls it looks at cancellation, deadlines and new work. It never waits for a client.
//
// The life of a request; every arrow but the first is the executor's thread:
//
//   Submit --> queued --> admitted --> [load] --> text_encode --> denoise x N --> vae_decode x M
//     |          |           |           |             |              |                 |
//   refused   cancelled,  refused:    failed        cancelled, past its deadline, out of memory
//             deadline    no memory                 twice, the device lost, preempted
//
//   Each column ends in exactly one OnFinished, after which the observer is let go. The bytes that
//   the request may take are reserved when it is admitted, grown to its real size when its model is
//   loaded, and given back with its GenerationRun.
//
// The order of locks, for the whole server; a thread that holds one takes only those after it:
//
//   1. DeviceExecutor's mutex       2. a call's mutex (rpc/generation_call.h)
//   3. ModelRegistry's change_mutex_, under which listeners hear of changes
//   4. ModelRegistry's mutex_       5. the watchers', the ledger's, the accounts' and the log's
//
//   The executor's is never held while the registry is asked, nor while a model is called. The
//   mutex that makes reports of the queue's depth come in order is taken before it.
#ifndef TIGHTFIT_SERVER_ENGINE_DEVICE_EXECUTOR_H_
#define TIGHTFIT_SERVER_ENGINE_DEVICE_EXECUTOR_H_

#include "server/base/cancellation.h"
#include "server/base/clock.h"
#include "server/base/status.h"
#include "server/engine/admission_plan.h"
#include "server/engine/command_queue.h"
#include "server/engine/executor_observer.h"
#include "server/engine/generation.h"
#include "server/engine/generation_run.h"
#include "server/engine/memory_estimate.h"
#include "server/engine/model_registry.h"
#include "server/engine/model_residency.h"
#include "server/engine/request_queue.h"
#include "server/engine/wait_prediction.h"
#include "server/memory/device_ledger.h"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>

namespace tightfit {

struct ExecutorOptions {
  int32_t max_queued_requests = 64;
  int32_t max_running_requests = 2;
  // Runs first on the executor's thread (thread-local LibTorch settings).
  std::function<void()> thread_init;
  // On the same thread when it ends, before the models that are left go. May be empty.
  std::function<void()> thread_exit;
  // Tells what a model is before it is loaded; without it a model answers only once resident.
  ModelDescriber describe;
  // Runs what reads directories of failed models again; empty: on the executor's thread.
  TaskRunner run_look;
  // What the server may use of its device; without one there is no limit. Must outlive the
  // executor.
  DeviceLedger* ledger = nullptr;
  // Gives cached memory back to the device, before a call that ran out of it is tried once more.
  // Errors: DeviceLost.
  std::function<Status()> drop_caches;
};

// What a request would take; nothing was done for it.
struct RequestEstimate {
  RequestMemory memory;
  AdmissionPlan plan;
  int64_t limit_bytes = 0;
  std::chrono::nanoseconds expected_wait{0};  // for the requests that are ahead of it
};

// Thread-safe.
class DeviceExecutor {
 public:
  // `registry`, `observer` (may be null) and `clock` must outlive the executor.
  DeviceExecutor(ModelRegistry* registry, ModelLoader loader, ExecutorOptions options,
                 const Clock* clock, ExecutorObserver* observer);
  // Cancels everything and joins.
  ~DeviceExecutor();

  // Starts the thread, which first describes every model of the registry and loads those with
  // `preload`, in order. `on_ready` is called on the thread when all have been tried.
  void Start(std::function<void()> on_ready);

  // Queues a request; its model is brought to the device when its turn comes. Errors, with the
  // observer not called at all: RESOURCE_EXHAUSTED `QUEUE_FULL` with retry-after; UNAVAILABLE
  // `DRAINING`, or what Abandon said; NOT_FOUND; UNAVAILABLE `MODEL_LOADING`; FAILED_PRECONDITION
  // `MODEL_FAILED`, `EXCEEDS_DEVICE_MEMORY`.
  Status Submit(GenerationParameters parameters, std::shared_ptr<GenerationObserver> observer,
                std::shared_ptr<Cancellation> cancellation);

  // What the request would take and whom it would drive out. Requires a description of its model.
  RequestEstimate Estimate(const GenerationParameters& parameters) const;

  // Brings the model to the device. `done` is called once, on the executor's thread or this one,
  // with OK where it is resident; FAILED_PRECONDITION `EXCEEDS_DEVICE_MEMORY`; RESOURCE_EXHAUSTED
  // `VRAM_BUSY`; what loading gave; UNAVAILABLE `DRAINING`; NOT_FOUND; RESOURCE_EXHAUSTED
  // `QUEUE_FULL` where too many such calls wait. A model that failed before is tried again.
  using Done = std::function<void(const Status&)>;
  void Load(std::string model, Done done);

  // Takes the model off the device. Refused with FAILED_PRECONDITION `MODEL_PINNED` or
  // `MODEL_IN_USE` unless `force`, which ends its running requests with ABORTED `PREEMPTED`. A
  // failed model is looked at again: if its directory can be served, the next request loads it.
  void Unload(std::string model, bool force, Done done);

  // Changes how long the model stays: `change` is called with what holds now. It counts for what is
  // decided from then on. NOT_FOUND.
  Status ChangePolicy(const std::string& model,
                      const std::function<void(ResidencyPolicy&)>& change);

  // Wakes the thread so that a cancellation takes effect now and not at the next event.
  void Wake();

  // Refuses new requests from now on; queued and running ones go on. Returns at once.
  void StopAccepting();

  // Refuses new requests, lets queued and running ones finish; after `limit` cancels what is left
  // (UNAVAILABLE). Returns true when all finished within the limit. Blocks.
  bool Drain(std::chrono::milliseconds limit);

  // Ends every request with `why` and refuses new ones with it: the device is of no use any more.
  // Queued requests hear of it at once, running ones when the call that they are in comes back.
  // Before any Drain. From any thread, that of a model's call included.
  void Abandon(const Status& why);

  // Of the device: what models and requests may take together, and what of it is set aside.
  int64_t limit_bytes() const;
  int64_t reserved_bytes() const;

  int32_t queued_count() const;
  int32_t running_count() const;

 private:
  // From any thread.
  void Command(PendingCommand command);
  void RefuseCommands();
  // Refuses requests from now on. REQUIRES: mutex_ held.
  void Close();
  Status closing() const;
  // Tells every queued request whose position changed.
  void AnnouncePositions();
  void EndCancelledQueued();
  void CountFinished();
  void ReportDepth();
  // Has the executor's thread tend to models again, at once.
  void TendSoon();

  // On the executor's thread alone (executor_thread.cc).
  // One, so that running requests get their turns between two loads.
  void RunNextCommand();
  void Preload();
  Status BringToDevice(const std::string& model, const std::string& reason);
  // Requests may wait behind a load: those that were cancelled must not wait for its end. False if
  // requests are cut short, so that no load has to end.
  bool WhileLoading();
  // Whether somebody waits for `model`, which is being loaded for the request of `cancellation`.
  bool IsAwaited(const std::string& model, const Cancellation& cancellation) const;
  Status LoadNow(const std::string& model);
  // For the run of an admitted request.
  Status LoadForRequest(const std::string& model, const std::shared_ptr<Cancellation>& cancellation,
                        const std::function<void(const LoadProgress&)>& progress);
  // What a model takes is known for certain once it is loaded.
  Status ReserveActivations(const std::shared_ptr<const GenerationParameters>& parameters,
                            MemoryReservation* activations);
  Status ReserveOnDemand(const std::shared_ptr<const GenerationParameters>& parameters,
                         OnDemand what, MemoryReservation* activations);
  Status UnloadNow(const std::string& model, bool force);
  void Serve();
  // The models that queued requests name. What changes of policies from now on, the next turn sees.
  std::set<std::string> TakeWanted();
  // One call for the request whose turn it is; then it goes behind the others.
  void AdvanceNext();
  // Nobody else starts while a request waits for its model: what that takes is known only then.
  bool IsLoading() const;
  // The first in the queue goes first: whoever needs room waits for it in front of all others, so
  // that a model that is in use gets idle. The first request of a model starts alone.
  void Admit();
  // The size of the first in the queue, by what is known of its model now; told once, and without
  // the lock.
  Result<int64_t> SizeFirst(const std::shared_ptr<const ModelDescription>& description,
                            const GenerationParameters& parameters);
  void StartRun(QueuedRequest request, MemoryReservation activations, const Status& admitted);
  void EndCancelledRunning();
  // Ends the runs for which `status_of` gives a status.
  template <typename StatusOf>
  void EndRunning(const StatusOf& status_of);
  // Everything of the request is free again when its observer hears of the end.
  void EndRun(std::unique_ptr<GenerationRun> run, const Status& status);
  void EndAll();

  ModelRegistry* const registry_;
  const ExecutorOptions options_;
  const Clock* const clock_;
  ExecutorObserver no_observer_;
  ExecutorObserver* const metrics_;
  // Half of what could be counted, so that sums do not overflow.
  DeviceLedger unlimited_{std::numeric_limits<int64_t>::max() / 2};
  DeviceLedger* const ledger_;
  std::mutex depth_mutex_;  // taken before mutex_
  mutable std::mutex mutex_;
  std::condition_variable wake_;      // for the executor's thread
  std::condition_variable finished_;  // for Drain
  ModelResidency residency_;          // goes before what its looks wake
  RequestQueue queue_;
  CommandQueue commands_;
  int32_t running_count_ = 0;
  int32_t unfinished_count_ = 0;  // accepted, OnFinished not yet returned
  WaitPrediction prediction_;
  Status closing_;  // why requests are refused; OK while they are not
  bool drain_expired_ = false;
  bool tend_soon_ = false;
  bool stopping_ = false;

  // The executor's thread only.
  std::deque<std::unique_ptr<GenerationRun>> running_;
  const GenerationRun* measured_ = nullptr;  // runs alone
  std::thread thread_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_DEVICE_EXECUTOR_H_
