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

// The states of a model; the executor's thread makes every change.
//
//   kUnloaded -> kLoading    a request, LoadModel or the start wants it
//   kLoading  -> kResident   loaded
//             -> kUnloaded   out of memory, or nobody waits for it any more
//             -> kFailed     any other error
//   kResident -> kEvicting   UnloadModel, unused for its keep-alive, or another needs the memory
//   kEvicting -> kUnloaded   its memory is given back
//   kFailed   -> kUnloaded   its files can be read again, or UnloadModel finds it servable
//             -> kLoading    LoadModel
enum class ModelState {
  kUnloaded,  // configured, nothing in device memory; a request brings it there
  kLoading,   // the executor is reading and packing its weights
  kResident,  // answers requests at once
  kEvicting,  // the executor is giving its memory back
  kFailed,    // could not be loaded; ModelSnapshot::failure says why, FilesUnread whether it is
              // looked at again by itself
};
std::string_view ModelStateName(ModelState state);  // "unloaded", "loading", "resident", ...

// How long a model stays in device memory; may be changed while the server runs.
struct ResidencyPolicy {
  bool pinned = false;                     // never evicted to make room
  std::chrono::milliseconds keep_alive{};  // evicted when unused for so long; 0: never for that
  int32_t priority = 0;                    // of those that may go, lower ones go first
};

// Whether a pin keeps a model from being evicted.
enum class Pins { kRespect, kOverride };

// One model at one moment.
struct ModelSnapshot {
  ModelSpec spec;
  ModelState state = ModelState::kUnloaded;
  std::chrono::system_clock::time_point state_since;
  std::string state_reason;  // why it is in this state: "request", "evicted for sdxl", "idle", ...
  Status failure;            // OK unless kFailed
  std::optional<LoadProgress> loading;
  // Known from the start where the directory can be described without loading it, else while
  // kResident; shared because a description is large and never changes.
  std::shared_ptr<const ModelDescription> description;
  ResidencyPolicy policy;
  int32_t running_count = 0;  // requests that run on it now
  std::optional<std::chrono::steady_clock::time_point> last_used;
  std::optional<std::chrono::system_clock::time_point> last_used_time;
};

// Whether a model failed because its files could not be read, or were shorter than they should be:
// a mount, a copy or a network file system may bring them back. Other failures stay until an admin
// loads the model.
bool FilesUnread(const Status& failure);
// The files of such a model are looked at no more often.
inline constexpr std::chrono::seconds kShortestLookInterval{30};

// OK when requests for the model may be queued: it is resident, or will be brought to the device.
// Else FAILED_PRECONDITION `MODEL_FAILED`, with retry-after where it may come back by itself, or
// UNAVAILABLE `MODEL_LOADING` with retry-after where nothing is known of it yet.
Status CheckServable(const ModelSnapshot& snapshot);
// The model takes an unknown amount of memory: it was not loaded since the start.
bool IsUnmeasured(const ModelSnapshot& model);
// NOT_FOUND `MODEL_NOT_FOUND`; `name` comes from a client and is cut and cleaned.
Status ModelNotFound(std::string_view name);

// Thread-safe. Order of models is the order of the configuration.
class ModelRegistry {
 public:
  // Names must be unique: configuration checks that.
  explicit ModelRegistry(std::vector<ModelSpec> specs);

  std::vector<ModelSnapshot> List() const;
  std::optional<ModelSnapshot> Find(std::string_view name) const;

  // State changes; called by the executor. A listener of OnChange hears each change of state or
  // policy, one after the other in the order in which they were made; it may read the registry but
  // not change it. The progress of a load is no change.
  void SetLoading(std::string_view name, const LoadProgress& progress, std::string reason = "");
  void SetResident(std::string_view name, std::unique_ptr<DiffusionModel> model);
  // False, and nothing changes, where a pin holds the model: a policy that was changed before
  // counts.
  bool SetEvicting(std::string_view name, std::string reason, Pins pins);
  void SetFailed(std::string_view name, Status failure);
  // Destroys the model; must be called on the executor's thread. Keeps what is known of it.
  void SetUnloaded(std::string_view name, std::string reason = "");
  // What the directory says of a model that is not on the device. One that had failed is unloaded
  // then.
  void SetDescribed(std::string_view name, ModelDescription description);
  // What is known of a model becomes `description`, in whatever state it is; no listener hears.
  void Redescribe(std::string_view name, ModelDescription description);
  // Called with the policy as it is. From any thread.
  void ChangePolicy(std::string_view name, const std::function<void(ResidencyPolicy&)>& change);
  // A request begins (+1) or ends (-1) to run on the model at `now`.
  void CountRunning(std::string_view name, int32_t change,
                    std::chrono::steady_clock::time_point now);
  void OnChange(std::function<void(const ModelSnapshot&)> listener);
  // Hears how far a load is, as often as the loader tells it.
  void OnProgress(std::function<void(const ModelSnapshot&)> listener);

  // The resident model; nullptr otherwise. For the executor's thread only.
  DiffusionModel* Resident(std::string_view name) const;

 private:
  struct Entry {
    ModelSnapshot snapshot;
    std::unique_ptr<DiffusionModel> model;
  };
  // Changes the entry of `name` under the lock; listeners hear of it.
  void Change(std::string_view name, const std::function<void(Entry&)>& change);
  // The same where `change` is true; where it is false it must change nothing, and nobody hears.
  bool ChangeIf(std::string_view name, const std::function<bool(Entry&)>& change);
  Entry* FindLocked(std::string_view name);
  const Entry* FindLocked(std::string_view name) const;
  using Listeners = std::vector<std::function<void(const ModelSnapshot&)>>;
  // Calls a copy of the listeners outside the lock.
  void Notify(const Listeners& listeners, const ModelSnapshot& snapshot) const;

  std::mutex change_mutex_;  // held until all listeners have heard; taken before `mutex_`
  mutable std::mutex mutex_;
  std::vector<Entry> entries_;
  Listeners change_listeners_;
  Listeners progress_listeners_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_MODEL_REGISTRY_H_
