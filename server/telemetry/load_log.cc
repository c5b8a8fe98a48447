#include "server/telemetry/load_log.h"

#include "server/telemetry/logging.h"
#include "server/telemetry/status_code_name.h"

#include <utility>

namespace tightfit {
namespace {

void LogResident(const ModelSnapshot& model) {
  const ModelDescription& description = *model.description;
  int64_t weight_bytes = 0;
  int64_t fp16_bytes = 0;
  int64_t packed_modules = 0;
  int64_t unpacked_modules = 0;
  for (const ComponentDescription& component : description.components) {
    weight_bytes += component.weight_bytes;
    fp16_bytes += component.fp16_bytes;
    packed_modules += component.packed_module_count;
    unpacked_modules += static_cast<int64_t>(component.unpacked_modules.size());
    for (const UnpackedModule& module : component.unpacked_modules) {
      Log(LogLevel::kWarning, "module stays unpacked",
          {{"model", description.name},
           {"component", component.name},
           {"module", module.module},
           {"reason", module.reason}});
    }
  }
  Log(LogLevel::kInfo, "model resident",
      {{"model", description.name},
       {"hash", description.hash},
       {"format", description.format},
       {"scope", description.scope},
       {"compute_dtype", description.compute_dtype},
       {"device", description.device},
       {"weight_bytes", weight_bytes},
       {"fp16_bytes", fp16_bytes},
       {"packed_module_count", packed_modules},
       {"unpacked_module_count", unpacked_modules},
       {"load_seconds", description.load_seconds}});
}

}  // namespace

bool LoadLog::ProgressIsDue(const std::string& model, bool is_start) {
  const Clock::time_point now = clock_->Now();
  const std::lock_guard lock(mutex_);
  Clock::time_point& last = last_progress_[model];
  if (!is_start && now - last < kProgressInterval) return false;
  last = now;
  return true;
}

bool LoadLog::IsNewState(const ModelSnapshot& model) {
  const std::lock_guard lock(mutex_);
  ModelState& last = last_state_.try_emplace(model.spec.name, ModelState::kUnloaded).first->second;
  return std::exchange(last, model.state) != model.state;
}

void LoadLog::OnChange(const ModelSnapshot& model) {
  const std::string& name = model.spec.name;
  // Also a change of policy is told.
  const bool is_new_state = IsNewState(model);
  if (!is_new_state && model.state != ModelState::kLoading) return;
  switch (model.state) {
    case ModelState::kLoading: {
      if (!ProgressIsDue(name, is_new_state)) return;
      const LoadProgress progress = model.loading.value_or(LoadProgress{});
      Log(LogLevel::kInfo, "model loading",
          {{"model", name},
           {"reason", model.state_reason},
           {"component", progress.component},
           {"bytes_done", progress.bytes_done},
           {"bytes_total", progress.bytes_total}});
      return;
    }
    case ModelState::kResident:
      if (model.description != nullptr) LogResident(model);
      return;
    case ModelState::kFailed:
      Log(LogLevel::kError, "model could not be loaded",
          {{"model", name},
           {"code", StatusCodeName(model.failure.code())},
           {"reason", model.failure.reason()},
           {"error", model.failure.ForLog()}});
      return;
    case ModelState::kEvicting:
      return;
    case ModelState::kUnloaded:
      Log(LogLevel::kInfo, "model unloaded", {{"model", name}, {"reason", model.state_reason}});
      return;
  }
}

}  // namespace tightfit
