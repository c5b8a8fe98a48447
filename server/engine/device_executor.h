// DeviceExecutor: the one thread that runs a device. It loads the models, owns all running requests
// and makes one call of a DiffusionModel at a time, in turns over the running requests; between two
// calls it looks at cancellation, deadlines and new work.
#ifndef TIGHTFIT_SERVER_ENGINE_DEVICE_EXECUTOR_H_
#define TIGHTFIT_SERVER_ENGINE_DEVICE_EXECUTOR_H_

#include "server/base/cancellation.h"
#include "server/base/clock.h"
#include "server/base/status.h"
#include "server/engine/generation.h"
#include "server/engine/model_registry.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

namespace tightfit {

// What happened inside, for metrics. Called on the executor's thread (and on submitting threads for
// OnQueueDepth); must return at once. All methods default to nothing.
class ExecutorObserver {
 public:
  virtual ~ExecutorObserver() = default;
  virtual void OnQueueDepth(int32_t queued, int32_t running) { (void)queued, (void)running; }
  virtual void OnQueueWait(const std::string& model, std::chrono::nanoseconds wait) {
    (void)model, (void)wait;
  }
  virtual void OnStage(const std::string& model, Stage stage, std::chrono::nanoseconds duration) {
    (void)model, (void)stage, (void)duration;
  }
  virtual void OnStep(const std::string& model, std::chrono::nanoseconds duration) {
    (void)model, (void)duration;
  }
  // An image was decoded again in fp32.
  virtual void OnVaeFallback(const std::string& model) { (void)model; }
  // A running or queued request ended early; `stage` is where it was ("queued" before the start).
  virtual void OnCancelled(const std::string& model, std::string_view stage) {
    (void)model, (void)stage;
  }
  virtual void OnLoaded(const std::string& model, const Status& status,
                        std::chrono::nanoseconds duration) {
    (void)model, (void)status, (void)duration;
  }
};

struct ExecutorOptions {
  int32_t max_queued_requests = 64;
  int32_t max_running_requests = 2;
  // Runs first on the executor's thread (thread-local LibTorch settings).
  std::function<void()> thread_init;
};

// Thread-safe.
class DeviceExecutor {
 public:
  // `registry`, `observer` (may be null) and `clock` must outlive the executor.
  DeviceExecutor(ModelRegistry* registry, ModelLoader loader, ExecutorOptions options,
                 const Clock* clock, ExecutorObserver* observer);
  // Cancels everything and joins.
  ~DeviceExecutor();

  // Starts the thread, which first loads every model of the registry in order. `on_ready` is called
  // on the thread when all have been tried.
  void Start(std::function<void()> on_ready);

  // Queues a request. Errors, with the observer not called at all: RESOURCE_EXHAUSTED `QUEUE_FULL`
  // with retry-after; UNAVAILABLE `DRAINING`; NOT_FOUND; UNAVAILABLE `MODEL_LOADING`;
  // FAILED_PRECONDITION `MODEL_FAILED`.
  Status Submit(GenerationParameters parameters, std::shared_ptr<GenerationObserver> observer,
                std::shared_ptr<Cancellation> cancellation);

  // Wakes the thread so that a cancellation takes effect now and not at the next event.
  void Poke();

  // Refuses new requests from now on; queued and running ones go on. Returns at once.
  void StopAccepting();

  // Refuses new requests, lets queued and running ones finish; after `limit` cancels what is left
  // (UNAVAILABLE). Returns true when all finished within the limit. Blocks.
  bool Drain(std::chrono::milliseconds limit);

  int32_t queued_count() const;
  int32_t running_count() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_DEVICE_EXECUTOR_H_
