// DeviceRuntime: what the models on one device share: their components by content, tokenizers in
// use, measured costs, and LibTorch's settings for their thread. Made in main, handed down, and
// destroyed after the last model.
//
// Two things stay the process's, because LibTorch's allocator hooks carry no context: the memory
// accounts (server/memory/memory_accounts.h) and the cache of freed blocks behind them. The buffer
// that weights are decoded into belongs to the thread, of which each device has one.
#ifndef TIGHTFIT_SERVER_PIPELINE_DEVICE_RUNTIME_H_
#define TIGHTFIT_SERVER_PIPELINE_DEVICE_RUNTIME_H_

#include "server/base/status.h"
#include "server/engine/memory_profile.h"
#include "server/pipeline/clip_tokenizer.h"
#include "server/pipeline/profile_cache.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace tightfit {

class WeightStore;

// Made before any tensor exists; then for the one thread that calls the device's models.
class DeviceRuntime {
 public:
  // `device`: a name that OpenDevice (server/device/open_device.h) gave. `thread_count`: intra-op
  // threads, 0 for all cores. `host_cache_bytes`: weights that may stay in host memory when models
  // leave the device. `profile_directory`: as ProfileCache; for a CPU alone, since a GPU's first
  // calls are needed to warm it up.
  DeviceRuntime(std::string device, int thread_count, int64_t host_cache_bytes,
                std::string profile_directory = {});
  ~DeviceRuntime();
  DeviceRuntime(const DeviceRuntime&) = delete;
  DeviceRuntime& operator=(const DeviceRuntime&) = delete;

  // From now on Costs measures nothing and gives none: for programs that admit no requests.
  void LeaveCostsOut() { leaves_costs_out_ = true; }

  const std::string& device() const { return device_; }
  WeightStore& weights() { return *weights_; }

  // Settings of LibTorch that are local to a thread. Call first on the models' thread.
  void InitThread();
  // Call last on that thread: weights that leave the device after this are freed, not cached.
  void ExitThread();
  // Gives cached memory of the device back.
  void DropCaches();

  // The tokenizer in use whose files have these digests; else what `load` gives.
  Result<std::shared_ptr<const ClipTokenizer>> Tokenizer(
      const std::string& digests,
      const std::function<Result<std::unique_ptr<ClipTokenizer>>()>& load);

  // The costs of models with these components, by content; what `measure` gives is kept, also for
  // later processes if there is a directory for profiles.
  Result<RequestCosts> Costs(const std::vector<std::string>& content_keys,
                             const std::function<Result<RequestCosts>()>& measure);

 private:
  const std::string device_;
  const std::unique_ptr<WeightStore> weights_;  // keeps LibTorch out of this header
  // Nearly all SDXL models have the same two.
  std::map<std::string, std::weak_ptr<const ClipTokenizer>> tokenizers_;
  std::map<std::vector<std::string>, RequestCosts> costs_;
  const ProfileCache profiles_;
  bool leaves_costs_out_ = false;
};

// "2.11.0"
std::string LibTorchVersion();

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_DEVICE_RUNTIME_H_
