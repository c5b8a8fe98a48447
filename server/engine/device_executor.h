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
//   The executor's is never held while the registry is asked, nor while a model is called.
#ifndef TIGHTFIT_SERVER_ENGINE_DEVICE_EXECUTOR_H_
#define TIGHTFIT_SERVER_ENGINE_DEVICE_EXECUTOR_H_

#include "server/base/cancellation.h"
#include "server/base/clock.h"
#include "server/base/status.h"
#include "server/engine/admission_plan.h"
#include "server/engine/executor_observer.h"
#include "server/engine/generation.h"
#include "server/engine/memory_estimate.h"
#include "server/engine/model_registry.h"
#include "server/memory/device_ledger.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
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
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_DEVICE_EXECUTOR_H_
