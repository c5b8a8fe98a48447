#include "server/engine/executor_refusals.h"

#include <string>

namespace tightfit {
namespace {

constexpr std::chrono::milliseconds kRetry{1000};

}  // namespace

Status Draining() {
  return Status(StatusCode::kUnavailable, "DRAINING", "the server is shutting down")
      .WithRetryAfter(kRetry);
}

Status QueueFull(int32_t max_queued_requests, const AdmissionPlan& plan,
                 std::chrono::milliseconds retry_after) {
  return Status(StatusCode::kResourceExhausted, "QUEUE_FULL", "the request queue is full")
      .WithMetadata("max_queued_requests", std::to_string(max_queued_requests))
      .WithMetadata("needed_bytes", std::to_string(plan.needed_bytes()))
      .WithMetadata("free_bytes", std::to_string(plan.free_bytes))
      .WithMetadata("evictable_bytes", std::to_string(plan.evictable_bytes))
      .WithRetryAfter(retry_after);
}

Status TooManyCommands() {
  return Status(StatusCode::kResourceExhausted, "QUEUE_FULL",
                "too many models wait to be loaded or unloaded")
      .WithRetryAfter(kRetry);
}

Status ModelInUse(const ModelSnapshot& model) {
  return Status(StatusCode::kFailedPrecondition, "MODEL_IN_USE",
                "requests run on the model; wait for them, or force its unloading")
      .WithMetadata("model", model.spec.name)
      .WithMetadata("running_request_count", std::to_string(model.running_count));
}

Status ModelPinned(const ModelSnapshot& model) {
  return Status(StatusCode::kFailedPrecondition, "MODEL_PINNED",
                "the model is pinned; unpin it with UpdateModel, or force its unloading")
      .WithMetadata("model", model.spec.name);
}

Status Preempted(const GenerationRun& run) {
  return Status(StatusCode::kAborted, "PREEMPTED", "the model was unloaded by force")
      .WithMetadata("stage", std::string(run.stage_name()))
      .WithMetadata("steps_done", std::to_string(run.steps_done()));
}

}  // namespace tightfit
