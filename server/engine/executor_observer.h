// ExecutorObserver: what happens inside the executor, for metrics.
#ifndef TIGHTFIT_SERVER_ENGINE_EXECUTOR_OBSERVER_H_
#define TIGHTFIT_SERVER_ENGINE_EXECUTOR_OBSERVER_H_

#include "server/base/status.h"
#include "server/engine/generation.h"

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace tightfit {

// Why a model left the device.
enum class EvictionCause {
  kRequest,  // it was asked for, or the server ends
  kIdle,     // unused for its keep-alive
  kMemory,   // another model or request needs the memory
};

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
  // An attempt to load a model ended, unless it was stopped because nobody waited any more.
  virtual void OnLoaded(const std::string& model, const Status& status,
                        std::chrono::nanoseconds duration) {
    (void)model, (void)status, (void)duration;
  }
  // A model left the device. `reason` is for people: "idle", "UnloadModel", "evicted for NAME".
  virtual void OnEvicted(const std::string& model, EvictionCause cause, const std::string& reason) {
    (void)model, (void)cause, (void)reason;
  }
  // The device ran out of memory in `stage` although there should have been enough.
  virtual void OnOutOfMemory(const std::string& model, Stage stage) { (void)model, (void)stage; }
  // What a request took at most beside the weights, and what had been set aside for it.
  virtual void OnMemoryPeak(const std::string& model, int64_t reserved_bytes, int64_t peak_bytes) {
    (void)model, (void)reserved_bytes, (void)peak_bytes;
  }
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_EXECUTOR_OBSERVER_H_
