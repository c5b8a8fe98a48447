#include "server/base/connection_source.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>

namespace tightfit {
namespace {

// Connections that failed before they were taken, in one go.
constexpr int kMaxTries = 64;

FileDescriptor OpenSpare() { return FileDescriptor(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }

}  // namespace

ConnectionSource::ConnectionSource() : spare_(OpenSpare()) {}

ConnectionSource::Outcome ConnectionSource::Accept(int listener, FileDescriptor* connection,
                                                   PeerAddress* peer) {
  for (int tries = 0; tries < kMaxTries; ++tries) {
    sockaddr_storage address{};
    socklen_t size = sizeof(address);
    const int accepted = ::accept4(listener, reinterpret_cast<sockaddr*>(&address), &size,
                                   SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (accepted >= 0) {
      connection->Reset(accepted);
      *peer = PeerAddressOf(address, size);
      const int yes = 1;
      if (address.ss_family != AF_UNIX) {
        ::setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
      }
      if (!spare_.is_open()) spare_ = OpenSpare();
      return Outcome::kAccepted;
    }
    switch (errno) {
      case EAGAIN:
        return Outcome::kNothing;
      case EMFILE:
      case ENFILE: {
        spare_.Reset();
        const int refused = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (refused >= 0) ::close(refused);
        spare_ = OpenSpare();
        return refused >= 0 ? Outcome::kRefused : Outcome::kBackOff;
      }
      case EINTR:
      case ECONNABORTED:
        continue;  // errors of that one connection
      case ENETDOWN:
      case EPROTO:
      case ENOPROTOOPT:
      case EHOSTDOWN:
      case ENONET:
      case EHOSTUNREACH:
      case ENETUNREACH:
      case EPERM:  // a firewall
        continue;
      default:
        return Outcome::kBackOff;
    }
  }
  return Outcome::kBackOff;
}

}  // namespace tightfit
