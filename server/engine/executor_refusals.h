// What the executor refuses and ends requests with, beside RefusalOf and CheckServable.
#ifndef TIGHTFIT_SERVER_ENGINE_EXECUTOR_REFUSALS_H_
#define TIGHTFIT_SERVER_ENGINE_EXECUTOR_REFUSALS_H_

#include "server/base/status.h"
#include "server/engine/admission_plan.h"
#include "server/engine/generation_run.h"
#include "server/engine/model_registry.h"

#include <chrono>
#include <cstdint>

namespace tightfit {

// UNAVAILABLE `DRAINING` with retry-after.
Status Draining();
// RESOURCE_EXHAUSTED `QUEUE_FULL` with retry-after and what `plan` would need.
Status QueueFull(int32_t max_queued_requests, const AdmissionPlan& plan,
                 std::chrono::milliseconds retry_after);
// The same for calls that load or unload.
Status TooManyCommands();
// FAILED_PRECONDITION `MODEL_IN_USE`, `MODEL_PINNED`.
Status ModelInUse(const ModelSnapshot& model);
Status ModelPinned(const ModelSnapshot& model);
// ABORTED `PREEMPTED`.
Status Preempted(const GenerationRun& run);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_EXECUTOR_REFUSALS_H_
