// LoadLog: how the loading of each model goes, as log lines.
#ifndef TIGHTFIT_SERVER_TELEMETRY_LOAD_LOG_H_
#define TIGHTFIT_SERVER_TELEMETRY_LOAD_LOG_H_

#include "server/base/clock.h"
#include "server/engine/model_registry.h"

#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <string>

namespace tightfit {

// Thread-safe.
class LoadLog {
 public:
  static constexpr std::chrono::seconds kProgressInterval{2};

  // `clock` must outlive it.
  explicit LoadLog(const Clock* clock) : clock_(clock) {}

  // Listener for ModelRegistry::OnChange and OnProgress. Logs start and progress (at most one line
  // per interval and model), the result, each module that stayed unpacked, or why the model failed.
  void OnChange(const ModelSnapshot& model);

 private:
  bool ProgressIsDue(const std::string& model, bool is_start);
  bool IsNewState(const ModelSnapshot& model);

  const Clock* const clock_;
  std::mutex mutex_;
  std::map<std::string, Clock::time_point> last_progress_;
  std::map<std::string, ModelState> last_state_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_TELEMETRY_LOAD_LOG_H_
