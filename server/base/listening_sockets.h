// The sockets on which a server listens.
#ifndef TIGHTFIT_SERVER_BASE_LISTENING_SOCKETS_H_
#define TIGHTFIT_SERVER_BASE_LISTENING_SOCKETS_H_

#include "server/base/file_descriptor.h"
#include "server/base/status.h"

#include <cstdint>
#include <string>
#include <vector>

namespace tightfit {

struct ListeningSockets {
  std::vector<FileDescriptor> sockets;  // non-blocking
  uint16_t port = 0;                    // of all of them; 0: a Unix socket
  std::string path;                     // of a Unix socket

  // Takes the path of a Unix socket away, then closes.
  void Close();
};

// What "0.0.0.0" means.
enum class AnyAddress { kIpv4Only, kBothFamilies };

// Listens on every address that `host`, a name or an address without brackets, stands for; port 0:
// one that is free on all of them. No other process can listen on the same port. Errors:
// UNAVAILABLE `ADDRESS_UNUSABLE` with the system's reason, where none of the addresses can be used
// or one of them is in use.
Result<ListeningSockets> ListenOnHost(const std::string& host, uint16_t port, AnyAddress any);

// Listens on a Unix socket, in place of one that a server left behind. The same errors.
Result<ListeningSockets> ListenOnPath(const std::string& path);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_BASE_LISTENING_SOCKETS_H_
