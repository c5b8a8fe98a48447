#include "server/rpc/open_listen_address.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <string>

namespace tightfit {
namespace {

bool IsServed(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return false;
  std::memcpy(address.sun_path, path.data(), path.size());
  const int client = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (client < 0) return false;
  const int connected =
      ::connect(client, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  ::close(client);
  return connected == 0;
}

Status AddressInUse(const ListenAddress& address, const char* why) {
  return {StatusCode::kFailedPrecondition, "ADDRESS_IN_USE",
          "cannot listen on " + address.ToString() + ": " + why};
}

}  // namespace

Result<ListeningSockets> OpenListenAddress(const ListenAddress& address) {
  if (address.is_unix() && IsServed(address.unix_path)) {
    return AddressInUse(address, "another server answers there");
  }
  Result<ListeningSockets> opened =
      address.is_unix() ? ListenOnPath(address.unix_path)
                        : ListenOnHost(address.host, address.port, AnyAddress::kBothFamilies);
  if (opened.ok()) return opened;
  return AddressInUse(address, "the address is in use or not of this machine")
      .WithDetail(opened.status().message());
}

}  // namespace tightfit
