#include "server/telemetry/connection_log.h"

#include "server/telemetry/logging.h"

namespace tightfit {

void ConnectionLog::OnConnections(const ConnectionCounts& counts) {
  constexpr std::chrono::minutes kInterval{1};
  if (counts.refused() == logged_.refused()) return;
  const Clock::time_point now = clock_->Now();
  if (logged_at_.has_value() && now - *logged_at_ < kInterval) return;
  Log(LogLevel::kWarning, "connections were refused",
      {{"over_limit", counts.refused_for_limit - logged_.refused_for_limit},
       {"over_address_limit", counts.refused_for_address_limit - logged_.refused_for_address_limit},
       {"without_descriptor", counts.refused_for_descriptors - logged_.refused_for_descriptors},
       {"open", int64_t{counts.open}}});
  logged_ = counts;
  logged_at_ = now;
}

}  // namespace tightfit
