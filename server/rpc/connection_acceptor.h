// ConnectionAcceptor: takes connections in gRPC's place, as many as there are places for.
//
// gRPC 1.51 stops accepting for good where accept() fails for want of descriptors, and has no limit
// that would keep it from there.
#ifndef TIGHTFIT_SERVER_RPC_CONNECTION_ACCEPTOR_H_
#define TIGHTFIT_SERVER_RPC_CONNECTION_ACCEPTOR_H_

#include "server/base/connection_limits.h"
#include "server/base/connection_source.h"
#include "server/base/file_descriptor.h"
#include "server/base/listening_sockets.h"
#include "server/base/status.h"
#include "server/engine/rpc_observer.h"
#include "server/rpc/connection_table.h"

#include <sys/socket.h>

#include <chrono>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>

namespace tightfit {

struct AcceptorOptions {
  ConnectionLimits limits;
  // How long data may stay without an acknowledgement; 0: the system's default.
  std::chrono::milliseconds unacknowledged{0};
  // Take an accepted connection, on the acceptor's thread: a client's, or one of ConnectOwn.
  std::function<void(FileDescriptor)> serve;
  std::function<void(FileDescriptor)> serve_own;
  // Once a second, and after refusals. On the acceptor's thread.
  std::function<void(const ConnectionCounts&)> on_counts;
};

class ConnectionAcceptor;

// A connection of this process to its own port. Must not outlive the acceptor.
class OwnConnection {
 public:
  OwnConnection(ConnectionAcceptor* acceptor, FileDescriptor socket, std::string name)
      : acceptor_(acceptor), socket_(std::move(socket)), name_(std::move(name)) {}
  OwnConnection(OwnConnection&&) = default;
  ~OwnConnection();

  int socket() const { return socket_.get(); }

 private:
  ConnectionAcceptor* acceptor_;
  // Open until the name is forgotten: as long as this holds it, nobody else can come from there.
  FileDescriptor socket_;
  std::string name_;
};

// Thread-safe. Owns one thread, which accepts from construction on. A connection beyond a limit is
// accepted and closed at once; connections of Unix sockets have no address, and count in the
// limit of all alone.
class ConnectionAcceptor {
 public:
  ConnectionAcceptor(ListeningSockets sockets, AcceptorOptions options);
  ~ConnectionAcceptor();
  ConnectionAcceptor(const ConnectionAcceptor&) = delete;
  ConnectionAcceptor& operator=(const ConnectionAcceptor&) = delete;

  // Closes the listening sockets. Nothing is served once it returns.
  void Stop();

  // Connects to the listening socket, as a client of this machine does. The connection has a place
  // whatever the limits, and is given to `serve_own` where it arrives. Errors: UNAVAILABLE.
  Result<OwnConnection> ConnectOwn(std::chrono::milliseconds patience);

 private:
  friend class OwnConnection;

  void Run();
  // Takes what waits at one socket. False where the system has no room.
  bool AcceptAll(int listener);
  void Take(FileDescriptor connection, const PeerAddress& peer);
  // Whether it is a connection of ConnectOwn, each of which is recognised once.
  bool TakeOwn(const std::string& socket);

  const AcceptorOptions options_;
  ListeningSockets sockets_;  // of Stop, once the thread has ended
  sockaddr_storage own_target_{};
  socklen_t own_target_size_ = 0;
  const FileDescriptor stop_;  // an eventfd
  // Of the thread alone.
  ConnectionSource source_;
  ConnectionTable table_;
  ConnectionCounts counts_;

  std::mutex own_mutex_;
  std::set<std::string> own_sockets_;  // PeerAddress::socket of those that are on their way
  std::mutex stop_mutex_;
  std::thread thread_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_CONNECTION_ACCEPTOR_H_
