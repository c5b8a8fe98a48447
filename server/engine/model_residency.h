// ModelResidency: brings models to the device and makes room for them.
#ifndef TIGHTFIT_SERVER_ENGINE_MODEL_RESIDENCY_H_
#define TIGHTFIT_SERVER_ENGINE_MODEL_RESIDENCY_H_

#include "server/base/clock.h"
#include "server/base/status.h"
#include "server/engine/diffusion_model.h"
#include "server/engine/executor_observer.h"
#include "server/engine/model_registry.h"
#include "server/engine/room_plan.h"
#include "server/memory/device_ledger.h"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

namespace tightfit {

// For the executor's thread alone. What it does to models it tells the registry.
class ModelResidency {
 public:
  // `describe` may be empty. All others must outlive it.
  ModelResidency(ModelRegistry* registry, ModelLoader load, ModelDescriber describe,
                 DeviceLedger* ledger, const Clock* clock, ExecutorObserver* observer);

  // Reads what every model's directory says; one that cannot be described has failed.
  void DescribeAll();

  RoomPlan Plan(const std::string& model, int64_t request_bytes) const;

  // Follows a plan of kNow: evicts, sets the bytes of model and request aside, and returns those of
  // the request.
  MemoryReservation MakeRoom(const std::string& model, const RoomPlan& plan);

  // Loads a model that is not resident; MakeRoom came before it. `progress` may do what must not
  // wait for the end of a load. A model that could not be loaded has failed, but where memory
  // ran out it may be tried again.
  Status Load(const std::string& model, const std::string& reason,
              const std::function<void(const LoadProgress&)>& progress);

  // Gives back what MakeRoom set aside for a model that was not loaded after all.
  void ForgetUnloaded(const std::string& model);

  // Gives the memory of a resident model back.
  void Evict(const std::string& model, const std::string& reason);

  // Evicts what was not used for longer than its policy allows. The time at which the next one is
  // due; nullopt where none is.
  std::optional<Clock::time_point> EvictIdle();

  const DeviceLedger& ledger() const { return *ledger_; }

 private:
  Result<std::unique_ptr<DiffusionModel>> CallLoader(
      const ModelSpec& spec, const std::function<void(const LoadProgress&)>& progress);

  // Sets the buffer aside that the model's weights are unpacked into.
  void KeepDecodeScratch(const ModelDescription* description);

  ModelRegistry* const registry_;
  const ModelLoader load_;
  const ModelDescriber describe_;
  DeviceLedger* const ledger_;
  const Clock* const clock_;
  ExecutorObserver* const observer_;
  std::map<std::string, MemoryReservation> weights_;  // of models on the device, or about to be
  std::map<std::string, MemoryReservation> load_scratch_;  // of those about to be
  MemoryReservation decode_scratch_;                       // that all models share; only grows
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_MODEL_RESIDENCY_H_
