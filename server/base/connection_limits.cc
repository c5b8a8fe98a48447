#include "server/base/connection_limits.h"

#include <sys/resource.h>

#include <algorithm>
#include <limits>
#include <string>

namespace tightfit {
namespace {

constexpr int64_t kMostByDefault = 2048;

}  // namespace

int64_t RaiseDescriptorLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  if (limit.rlim_cur < limit.rlim_max) {
    const rlimit raised{limit.rlim_max, limit.rlim_max};
    if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  constexpr auto kMost = static_cast<rlim_t>(std::numeric_limits<int32_t>::max());
  return static_cast<int64_t>(std::min(limit.rlim_cur, kMost));
}

Result<ConnectionLimits> ResolveConnectionLimits(ConnectionLimits wanted, int64_t max_descriptors) {
  const int64_t most = max_descriptors - kReservedDescriptors;
  if (wanted.max_connections > 0 && wanted.max_connections > most) {
    return InvalidArgument(
        "limits.max_connections: " + std::to_string(wanted.max_connections) + " does not fit the " +
        std::to_string(max_descriptors) + " descriptors that this process may open, of which " +
        std::to_string(kReservedDescriptors) + " are for other things; take " +
        std::to_string(std::max<int64_t>(most, 0)) + " or fewer, or raise the limit (ulimit -n)");
  }
  if (wanted.max_connections == 0) {
    if (most < 1) {
      return InvalidArgument("limits.max_connections: this process may open " +
                             std::to_string(max_descriptors) +
                             " descriptors, too few to serve; raise the limit (ulimit -n)");
    }
    wanted.max_connections =
        static_cast<int32_t>(std::min({max_descriptors / 2, kMostByDefault, most}));
  }
  if (wanted.max_connections_per_address == 0) {
    wanted.max_connections_per_address =
        std::max(static_cast<int32_t>(int64_t{wanted.max_connections} * 3 / 4), 1);
  }
  if (wanted.max_connections_per_address > wanted.max_connections) {
    return InvalidArgument("limits.max_connections_per_address: " +
                           std::to_string(wanted.max_connections_per_address) +
                           " is above max_connections, " + std::to_string(wanted.max_connections));
  }
  return wanted;
}

}  // namespace tightfit
