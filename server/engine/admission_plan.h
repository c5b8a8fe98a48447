// PlanAdmission: whether a model and a request fit the device, and who has to go for it.
#ifndef TIGHTFIT_SERVER_ENGINE_ADMISSION_PLAN_H_
#define TIGHTFIT_SERVER_ENGINE_ADMISSION_PLAN_H_

#include "server/base/status.h"
#include "server/engine/model_registry.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tightfit {

enum class Admission {
  kNow,    // once `evictions` are gone
  kLater,  // when requests that run now have ended
  kNever,  // not even alone with what is pinned
};

struct AdmissionPlan {
  Admission admission = Admission::kNow;
  bool needs_load = false;
  // What is to be reserved: where the model is not resident, those of its weights that no other
  // model holds on the device then, and the scratch of loading beyond what the request takes, which
  // begins afterwards; and that. Of kNever all weights of the model.
  int64_t weight_bytes = 0;
  int64_t load_scratch_bytes = 0;
  int64_t request_bytes = 0;
  int64_t free_bytes = 0;
  int64_t evictable_bytes = 0;         // that all idle models which may go would free together
  std::vector<std::string> evictions;  // of kNow, in the order of going
  bool model_fits = true;              // of kNever: a smaller request would fit

  int64_t needed_bytes() const { return weight_bytes + load_scratch_bytes + request_bytes; }
};

// The device as the ledger has it.
struct DeviceBudget {
  int64_t limit_bytes = 0;
  int64_t free_bytes = 0;
  int64_t decode_scratch_bytes = 0;  // the buffer that all models share; set aside for good
};

// `models`: all of them; `model` is one of them and has a description. Never kLater where nothing
// runs. A function of its arguments alone: the executor acts on it, an estimate only tells it.
AdmissionPlan PlanAdmission(const std::vector<ModelSnapshot>& models, std::string_view model,
                            int64_t request_bytes, const DeviceBudget& device);

// The same for a model whose load has come out larger than what is set aside for it: `held` is
// that, `missing_bytes` the rest.
AdmissionPlan PlanGrowth(std::vector<ModelSnapshot> models, std::string_view model,
                         std::vector<WeightGroup> held, int64_t missing_bytes,
                         const DeviceBudget& device);

// Why `plan` is not kNow: FAILED_PRECONDITION `EXCEEDS_DEVICE_MEMORY` with needed_bytes and
// total_bytes, and what to do about the request or the model; or RESOURCE_EXHAUSTED `VRAM_BUSY`
// with needed_bytes, free_bytes, evictable_bytes.
Status RefusalOf(const AdmissionPlan& plan, int64_t limit_bytes);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_ADMISSION_PLAN_H_
