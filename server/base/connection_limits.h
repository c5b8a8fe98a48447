// How many connections a process may have, by the descriptors that it may open.
#ifndef TIGHTFIT_SERVER_BASE_CONNECTION_LIMITS_H_
#define TIGHTFIT_SERVER_BASE_CONNECTION_LIMITS_H_

#include "server/base/status.h"

#include <cstdint>

namespace tightfit {

struct ConnectionLimits {
  int32_t max_connections = 0;
  int32_t max_connections_per_address = 0;
};

// Descriptors that no connection of a client may take: models' files, the log, metrics, gRPC's own,
// connections that are being closed.
inline constexpr int64_t kReservedDescriptors = 128;

// Raises the soft limit of descriptors to the hard one. What then holds, at most 2^31 - 1.
int64_t RaiseDescriptorLimit();

// `wanted` with a number in place of each 0: of `max_descriptors` half, at most 2048, for all
// connections, and three quarters of these for one address. Errors: INVALID_ARGUMENT where more are
// wanted than there are descriptors for; the message begins with the name of the setting.
Result<ConnectionLimits> ResolveConnectionLimits(ConnectionLimits wanted, int64_t max_descriptors);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_BASE_CONNECTION_LIMITS_H_
