// WeightStore: the components on one device by content, so that models of equal content share
// them and a model that returns finds what it left.
//
// A component is on the device as long as a model uses it. When the last one lets go, its weights
// stay packed in host memory, those that were used last up to a limit; of the others the graph
// stays. On a CPU the device's memory is the host's: leaving and coming back moves no byte.
#ifndef TIGHTFIT_SERVER_WEIGHTS_WEIGHT_STORE_H_
#define TIGHTFIT_SERVER_WEIGHTS_WEIGHT_STORE_H_

#include "server/weights/component.h"

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

namespace tightfit {

// For the executor's thread, or before it starts. Outlives what it shares.
class WeightStore {
 public:
  WeightStore() = default;
  WeightStore(const WeightStore&) = delete;
  WeightStore& operator=(const WeightStore&) = delete;

  // Bytes of weights that may stay in host memory from now on; 0 at first.
  void SetHostCacheLimit(int64_t bytes);

  // A component with its weights, under `options.owner`, its content key: the one that another
  // model holds or that waits in host memory; else what it left is filled again; else it is loaded.
  // Files of `directory` that were never checked under this content are, whatever is on the device.
  // The component comes back here when the last copy of what this returns goes. `progress` gets the
  // bytes of the weight file, and stops the load by returning false. Errors: Component::Load's.
  Result<std::shared_ptr<Component>> Acquire(const ModelDirectory& directory,
                                             const ComponentOptions& options,
                                             const std::function<bool(int64_t)>& progress);

  // Gives back the weights that no model uses.
  void DropHostCache();

 private:
  // No model uses it.
  struct Idle {
    std::string content_key;
    std::unique_ptr<Component> component;
    int64_t host_bytes = 0;  // of its weights, where it has them
  };
  // With its weights, from another model or from host memory; else nullptr.
  std::shared_ptr<Component> Find(const std::string& content_key);
  // Without weights, where only the graph is left; else nullptr.
  std::unique_ptr<Component> TakeGraph(const std::string& content_key);
  std::shared_ptr<Component> Share(const std::string& content_key,
                                   std::unique_ptr<Component> component);
  // Whether the weights of `idle`, which are on the device, are in host memory now.
  bool KeepOnHost(Idle* idle);
  // Whether they are on the device again.
  bool BringBack(Idle* idle);
  static void Free(Idle* idle);
  void Release(const std::string& content_key, std::unique_ptr<Component> component);
  std::unique_ptr<Component> TakeIdle(std::list<Idle>::iterator idle);
  // Frees weights, those released first before others, until at most `limit_bytes` stay.
  void Trim(int64_t limit_bytes);

  std::map<std::string, std::weak_ptr<Component>> used_;
  std::list<Idle> idle_;  // the last released first
  // Content keys, and the directories whose files were found to be of that content.
  std::set<std::pair<std::string, std::string>> checked_;
  int64_t host_cache_limit_bytes_ = 0;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_WEIGHT_STORE_H_
