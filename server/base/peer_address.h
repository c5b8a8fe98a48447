// PeerAddress: who is at the other end of a socket.
#ifndef TIGHTFIT_SERVER_BASE_PEER_ADDRESS_H_
#define TIGHTFIT_SERVER_BASE_PEER_ADDRESS_H_

#include <sys/socket.h>

#include <string>

namespace tightfit {

struct PeerAddress {
  // What limits count by: the bytes of an IPv4 address, or the first 64 bits of an IPv6 address, of
  // which one host has as many as it likes. Empty for Unix sockets, which have no address.
  std::string host;
  // One socket of that host.
  std::string socket;
};

// An IPv4 address that came over an IPv6 socket is an IPv4 address.
PeerAddress PeerAddressOf(const sockaddr_storage& address, socklen_t size);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_BASE_PEER_ADDRESS_H_
