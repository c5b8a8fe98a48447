#include "server/base/peer_address.h"

#include <netinet/in.h>

#include <algorithm>

namespace tightfit {
namespace {

template <typename T>
std::string BytesOf(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

}  // namespace

PeerAddress PeerAddressOf(const sockaddr_storage& address, socklen_t size) {
  constexpr size_t kNetworkBytes = 8;
  constexpr size_t kMappedPrefixBytes = 12;
  if (address.ss_family == AF_INET) {
    const auto& ip = reinterpret_cast<const sockaddr_in&>(address);
    const std::string host = BytesOf(ip.sin_addr);
    return {host, host + BytesOf(ip.sin_port)};
  }
  if (address.ss_family == AF_INET6) {
    const auto& ip = reinterpret_cast<const sockaddr_in6&>(address);
    std::string host = BytesOf(ip.sin6_addr);
    if (IN6_IS_ADDR_V4MAPPED(&ip.sin6_addr)) host.erase(0, kMappedPrefixBytes);
    const std::string socket = host + BytesOf(ip.sin6_port);
    host.resize(std::min(host.size(), kNetworkBytes));
    return {host, socket};
  }
  return {"", std::string(reinterpret_cast<const char*>(&address), size)};
}

}  // namespace tightfit
