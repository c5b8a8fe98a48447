// ConnectionTable: which connections are open, of descriptors that belong to somebody else.
//
// gRPC owns a connection once it has it, and does not tell when it closes it. So each is remembered
// by its descriptor and the inode of its socket, and looked up by fstat: where the descriptor is
// gone, or is another socket's by now, the connection was closed. No two sockets have one inode.
#ifndef TIGHTFIT_SERVER_RPC_CONNECTION_TABLE_H_
#define TIGHTFIT_SERVER_RPC_CONNECTION_TABLE_H_

#include "server/base/connection_limits.h"

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <unordered_map>

namespace tightfit {

// Not thread-safe.
class ConnectionTable {
 public:
  enum class Verdict { kAdmit, kOverLimit, kOverAddressLimit };

  explicit ConnectionTable(ConnectionLimits limits) : limits_(limits) {}

  // Whether one more connection of `host` (PeerAddress) has a place. A connection that its peer has
  // closed holds none, also while its descriptor is still open.
  Verdict Judge(const std::string& host);
  // Call before the descriptor is handed over.
  void Add(int fd, const std::string& host);
  // Forgets what was closed. How many are open.
  int32_t Look();
  // How many are open as far as is known without a look.
  int32_t count() const { return count_; }

 private:
  struct Connection {
    ino_t inode;
    std::string host;
    bool is_ending = false;  // its peer has closed it
  };

  Verdict JudgeByCounts(const std::string& host) const;
  void CountAgain();

  const ConnectionLimits limits_;
  std::unordered_map<int, Connection> connections_;  // by descriptor
  std::unordered_map<std::string, int32_t> counts_;  // by host, of those that do not end
  int32_t count_ = 0;
  std::chrono::steady_clock::time_point looked_at_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_CONNECTION_TABLE_H_
