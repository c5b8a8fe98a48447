// ModelRegistry: the configured models and the state of each.
#ifndef TIGHTFIT_SERVER_ENGINE_MODEL_REGISTRY_H_
#define TIGHTFIT_SERVER_ENGINE_MODEL_REGISTRY_H_

#include "server/base/status.h"
#include "server/engine/diffusion_model.h"

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tightfit {

//   kUnloaded -> kLoading -> kResident
//                         -> kFailed
enum class ModelState {
  kUnloaded,  // configured, nothing in device memory
  kLoading,   // the executor is reading and packing its weights
  kResident,  // answers requests
  kFailed,    // could not be loaded; ModelSnapshot::failure says why
};
std::string_view ModelStateName(ModelState state);  // "unloaded", "loading", "resident", "failed"

// One model at one moment.
struct ModelSnapshot {
  ModelSpec spec;
  ModelState state = ModelState::kUnloaded;
  std::chrono::system_clock::time_point state_since;
  Status failure;  // OK unless kFailed
  std::optional<LoadProgress> loading;
  // Set while kResident; shared because a description is large and never changes.
  std::shared_ptr<const ModelDescription> description;
};

// OK when requests for the model may be queued, else FAILED_PRECONDITION `MODEL_FAILED` or
// UNAVAILABLE `MODEL_LOADING` with retry-after.
Status CheckServable(const ModelSnapshot& snapshot);
// NOT_FOUND `MODEL_NOT_FOUND`; `name` comes from a client and is cut and cleaned.
Status ModelNotFound(std::string_view name);

// Thread-safe. Order of models is the order of the configuration.
class ModelRegistry {
 public:
  // Names must be unique: configuration checks that.
  explicit ModelRegistry(std::vector<ModelSpec> specs);

  std::vector<ModelSnapshot> List() const;
  std::optional<ModelSnapshot> Find(std::string_view name) const;

  // State changes; called by the executor. `listener` of OnChange runs after each change of the
  // state, outside the lock; the progress of a load is not one.
  void SetLoading(std::string_view name, const LoadProgress& progress);
  void SetResident(std::string_view name, std::unique_ptr<DiffusionModel> model);
  void SetFailed(std::string_view name, Status failure);
  // Destroys the model; must be called on the executor's thread.
  void SetUnloaded(std::string_view name);
  void OnChange(std::function<void(const ModelSnapshot&)> listener);

  // The resident model; nullptr otherwise. For the executor's thread only.
  DiffusionModel* Resident(std::string_view name) const;

 private:
  struct Entry {
    ModelSnapshot snapshot;
    std::unique_ptr<DiffusionModel> model;
  };
  Entry* FindLocked(std::string_view name);
  const Entry* FindLocked(std::string_view name) const;
  void Notify(const ModelSnapshot& snapshot) const;

  mutable std::mutex mutex_;
  std::vector<Entry> entries_;
  std::vector<std::function<void(const ModelSnapshot&)>> listeners_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_MODEL_REGISTRY_H_
