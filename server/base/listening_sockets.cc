#include "server/base/listening_sockets.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <memory>

namespace tightfit {
namespace {

constexpr int kBacklog = 4096;  // the system cuts it to its own limit
constexpr int kPortTries = 10;

Status Unusable(const std::string& why) {
  return {StatusCode::kUnavailable, "ADDRESS_UNUSABLE", "cannot listen there: " + why};
}

void SetPort(sockaddr_storage* address, uint16_t port) {
  // The port lies at the same place in both families.
  reinterpret_cast<sockaddr_in*>(address)->sin_port = htons(port);
}

// 0, or the system's error.
int OpenOne(const sockaddr_storage& address, socklen_t size, bool both_families,
            FileDescriptor* opened) {
  FileDescriptor socket(::socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.is_open()) return errno;
  const int yes = 1;
  if (address.ss_family != AF_UNIX) {
    ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  }
  if (address.ss_family == AF_INET6) {
    const int only_ipv6 = both_families ? 0 : 1;
    ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &only_ipv6, sizeof(only_ipv6));
  }
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0) return errno;
  if (::listen(socket.get(), kBacklog) != 0) return errno;
  *opened = std::move(socket);
  return 0;
}

uint16_t PortOf(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

struct HostAddress {
  sockaddr_storage address{};
  socklen_t size = 0;
  bool both_families = false;
};

Result<std::vector<HostAddress>> Resolve(const std::string& host, AnyAddress any) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(host.c_str(), "0", &hints, &found); error != 0) {
    return Unusable(error == EAI_SYSTEM ? std::strerror(errno) : ::gai_strerror(error));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> freed(found, &::freeaddrinfo);
  std::vector<HostAddress> addresses;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    if (each->ai_family != AF_INET && each->ai_family != AF_INET6) continue;
    HostAddress& added = addresses.emplace_back();
    std::memcpy(&added.address, each->ai_addr, each->ai_addrlen);
    added.size = each->ai_addrlen;
    if (each->ai_family == AF_INET6) {
      const auto& ip = reinterpret_cast<const sockaddr_in6&>(added.address);
      added.both_families = IN6_IS_ADDR_UNSPECIFIED(&ip.sin6_addr);
    }
  }
  const bool is_any_ipv4 =
      addresses.size() == 1 && addresses[0].address.ss_family == AF_INET &&
      reinterpret_cast<const sockaddr_in&>(addresses[0].address).sin_addr.s_addr == INADDR_ANY;
  if (is_any_ipv4 && any == AnyAddress::kBothFamilies) {
    HostAddress both;
    reinterpret_cast<sockaddr_in6&>(both.address) = {.sin6_family = AF_INET6};
    both.size = sizeof(sockaddr_in6);
    both.both_families = true;
    addresses.insert(addresses.begin(), both);
  }
  return addresses;
}

// One try. `*in_use`: it failed for an address that another socket has.
Result<ListeningSockets> Open(std::vector<HostAddress> addresses, uint16_t port, bool* in_use) {
  ListeningSockets opened;
  opened.port = port;
  int last_error = EADDRNOTAVAIL;
  for (HostAddress& each : addresses) {
    SetPort(&each.address, opened.port);
    FileDescriptor socket;
    const int error = OpenOne(each.address, each.size, each.both_families, &socket);
    if (error == EADDRINUSE) {
      *in_use = true;
      return Unusable(std::strerror(error));
    }
    if (error != 0) {  // a machine without IPv6, an address of no interface
      last_error = error;
      continue;
    }
    if (opened.port == 0) opened.port = PortOf(socket.get());
    opened.sockets.push_back(std::move(socket));
    if (each.both_families) break;  // there is nothing left of this port
  }
  if (opened.sockets.empty()) return Unusable(std::strerror(last_error));
  return opened;
}

}  // namespace

void ListeningSockets::Close() {
  if (!path.empty() && !sockets.empty()) ::unlink(path.c_str());
  sockets.clear();
}

Result<ListeningSockets> ListenOnHost(const std::string& host, uint16_t port, AnyAddress any) {
  TF_ASSIGN_OR_RETURN(const std::vector<HostAddress> addresses, Resolve(host, any));
  for (int tries = 1;; ++tries) {
    bool in_use = false;
    Result<ListeningSockets> opened = Open(addresses, port, &in_use);
    // A port that is free on the first address may be taken on the second.
    if (opened.ok() || !in_use || port != 0 || tries == kPortTries) return opened;
  }
}

Result<ListeningSockets> ListenOnPath(const std::string& path) {
  sockaddr_storage address{};
  auto& unix_address = reinterpret_cast<sockaddr_un&>(address);
  unix_address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(unix_address.sun_path)) {
    return Unusable(std::strerror(ENAMETOOLONG));
  }
  std::memcpy(unix_address.sun_path, path.c_str(), path.size() + 1);
  struct stat about {};
  if (::lstat(path.c_str(), &about) == 0 && S_ISSOCK(about.st_mode)) ::unlink(path.c_str());
  ListeningSockets opened;
  FileDescriptor socket;
  if (const int error = OpenOne(address, sizeof(sockaddr_un), false, &socket); error != 0) {
    return Unusable(std::strerror(error));
  }
  opened.sockets.push_back(std::move(socket));
  opened.path = path;
  return opened;
}

}  // namespace tightfit
