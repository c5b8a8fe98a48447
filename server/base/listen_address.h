// ListenAddress: "host:port", "[ipv6]:port" or "unix:PATH", taken apart.
#ifndef TIGHTFIT_SERVER_BASE_LISTEN_ADDRESS_H_
#define TIGHTFIT_SERVER_BASE_LISTEN_ADDRESS_H_

#include "server/base/status.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace tightfit {

struct ListenAddress {
  std::string host;  // without brackets; empty for a unix socket
  uint16_t port = 0;
  std::string unix_path;

  bool is_unix() const { return !unix_path.empty(); }
  // Only processes of this machine can reach it.
  bool is_local() const;
  // "127.0.0.1:9400", "[::1]:9400", "unix:/run/tightfit.sock"
  std::string ToString() const;
};

// INVALID_ARGUMENT with what is wrong with `text`, which the message quotes.
Result<ListenAddress> ParseListenAddress(std::string_view text);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_BASE_LISTEN_ADDRESS_H_
