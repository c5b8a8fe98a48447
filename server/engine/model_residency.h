// ModelResidency: brings models to the device and makes room for them.
#ifndef TIGHTFIT_SERVER_ENGINE_MODEL_RESIDENCY_H_
#define TIGHTFIT_SERVER_ENGINE_MODEL_RESIDENCY_H_

#include "server/base/clock.h"
#include "server/base/status.h"
#include "server/engine/admission_plan.h"
#include "server/engine/diffusion_model.h"
#include "server/engine/directory_looks.h"
#include "server/engine/executor_observer.h"
#include "server/engine/model_registry.h"
#include "server/memory/device_ledger.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace tightfit {

// For the executor's thread alone, but for Plan. What it does to models it tells the registry.
class ModelResidency {
 public:
  // `describe` may be empty. All others must outlive it.
  // `run_look` and `on_look` are those of DirectoryLooks.
  ModelResidency(ModelRegistry* registry, ModelLoader load, ModelDescriber describe,
                 DeviceLedger* ledger, const Clock* clock, ExecutorObserver* observer,
                 TaskRunner run_look, std::function<void()> on_look);

  // Reads what a model's directory says; one that cannot be described has failed.
  Status Describe(const ModelSpec& spec);

  // Begins to read the directory of a failed model once more: if it can be served it is unloaded
  // from then on, else its failure is what was found now. No load, as observers count them.
  void LookAt(const ModelSpec& spec);

  // From any thread.
  AdmissionPlan Plan(const std::string& model, int64_t request_bytes) const;

  // Follows a plan of kNow: evicts, sets the bytes of the model aside, and those of the request in
  // `activations`. False if one of those to go was pinned meanwhile: then plan again. Errors:
  // INTERNAL if the ledger has less than the plan says.
  Result<bool> MakeRoom(const std::string& model, const AdmissionPlan& plan,
                        MemoryReservation* activations);

  // Brings a model to the device if it is not there; makes room unless MakeRoom did. `progress` may
  // do what must not wait for the end of a load, and stop it. Weights that come out larger than
  // estimated drive others out as a request would. Errors: RefusalOf's, LoadStopped, then the model
  // is unloaded and its true size known; what describing or loading gave: then it has failed, but
  // if memory ran out it may be tried again.
  Status EnsureResident(const std::string& model, const std::string& reason,
                        const LoadCallback& progress);

  // Brings what is set aside for a request on a resident model up to `bytes`. Errors: RefusalOf's,
  // with nothing set aside.
  Status ReserveActivations(const std::string& model, int64_t bytes,
                            MemoryReservation* activations);

  // Before a request on a resident model needs `what`: sets its weights aside until the model
  // leaves, and brings what is set aside for the request beside them to `bytes`. Errors: as
  // ReserveActivations.
  Status ReserveOnDemand(const std::string& model, OnDemand what, int64_t bytes,
                         MemoryReservation* activations);

  // Gives back what MakeRoom set aside for a model that was not loaded after all.
  void ReleaseIfNotResident(const std::string& model);

  // Gives the memory of a resident model back. False where a pin holds it.
  bool Evict(const std::string& model, EvictionCause cause, const std::string& reason,
             Pins pins = Pins::kRespect);

  // What no request asks for. Evicts what was not used for longer than its policy allows, but for
  // the models that are `wanted`; and looks at each model that failed because its files could not
  // be read, 30 s after the last look and so late that looking takes no more than a twentieth of
  // the time. The time at which the next one is due; nullopt if none is.
  std::optional<Clock::time_point> Tend(const std::set<std::string>& wanted);

 private:
  Status PlanAndMakeRoom(const std::string& model, int64_t request_bytes,
                         MemoryReservation* activations);
  Status Load(const ModelSnapshot& model, const std::string& reason, const LoadCallback& progress);
  // The model has failed, and is looked at again if its files could not be read. `began`: when they
  // were.
  void Fail(const std::string& model, const Status& failure, Clock::time_point began);
  std::optional<Clock::time_point> EvictIdle(const std::set<std::string>& wanted);
  std::optional<Clock::time_point> LookAtFailed();
  // Tells the registry what looks have found since the last call.
  void FinishLooks();
  void LookLater(const std::string& model, Clock::time_point began);
  DeviceBudget Budget() const;

  // Whether weights are set aside for the model.
  bool HasRoomFor(const std::string& model) const;
  // Sets aside what of the model's weights is not there yet. Errors: as MakeRoom.
  Status ReserveWeights(const std::string& model);
  // Brings what is set aside to the loaded model's figures. Errors: RefusalOf's.
  Status CommitWeights(const std::string& model, const ModelMemory& memory);
  // The same as far as there is room now; the bytes that do not fit.
  int64_t GrowTo(const ModelMemory& memory);
  // What is set aside of these weights.
  std::vector<WeightGroup> HeldOf(std::vector<WeightGroup> weights) const;
  // False if one of them is pinned.
  bool EvictAll(const std::vector<std::string>& models, const std::string& for_model);
  void ReleaseWeights(const std::string& model);
  // Tells the registry which weights on demand are set aside.
  void DescribeOnDemand(const std::string& model);
  // Sets the buffer aside that the model's weights are unpacked into. Errors: as MakeRoom.
  Status KeepDecodeScratch(const ModelMemory& memory);

  ModelRegistry* const registry_;
  const ModelLoader load_;
  const ModelDescriber describe_;
  DeviceLedger* const ledger_;
  const Clock* const clock_;
  ExecutorObserver* const observer_;
  // By model: when a look is due; kUnderWay while one runs.
  std::map<std::string, Clock::time_point> look_at_;
  DirectoryLooks looks_;
  // Weights on the device, or about to be, and whose they are.
  struct HeldGroup {
    MemoryReservation reservation;
    std::set<std::string> models;
  };
  std::map<std::string, HeldGroup> groups_;                // by content
  std::map<std::string, MemoryReservation> load_scratch_;  // by model; of those about to be
  // By model: weights that were needed on demand.
  std::map<std::string, std::map<OnDemand, MemoryReservation>> on_demand_;
  MemoryReservation decode_scratch_;              // that all models share; only grows
  std::atomic<int64_t> decode_scratch_bytes_{0};  // for Plan
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_MODEL_RESIDENCY_H_
