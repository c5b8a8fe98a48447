#include "server/rpc/listen_address.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstring>
#include <string_view>

namespace tightfit {
namespace {

constexpr std::string_view kUnixPrefix = "unix:";
constexpr int kLargestPort = 65535;

bool IsPort(std::string_view text) {
  int port = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port >= 0 &&
         port <= kLargestPort;
}

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

}  // namespace

Status CheckListenAddress(const std::string& listen) {
  if (listen.starts_with(kUnixPrefix) && listen.size() > kUnixPrefix.size()) {
    if (IsServed(listen.substr(kUnixPrefix.size()))) {
      return {StatusCode::kFailedPrecondition, "ADDRESS_IN_USE",
              "cannot listen on " + listen + ": another server answers there"};
    }
    return OkStatus();
  }
  const size_t colon = listen.rfind(':');
  if (colon != std::string::npos && colon > 0 &&
      IsPort(std::string_view(listen).substr(colon + 1))) {
    return OkStatus();
  }
  return {StatusCode::kInvalidArgument, "BAD_ADDRESS",
          "the address to listen on must be HOST:PORT or unix:PATH"};
}

Result<ListeningSockets> OpenListenAddress(const std::string& listen) {
  const auto open = [&listen] {
    if (listen.starts_with(kUnixPrefix)) return ListenOnPath(listen.substr(kUnixPrefix.size()));
    const size_t colon = listen.rfind(':');
    std::string host = listen.substr(0, colon);
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
    return ListenOnHost(host, static_cast<uint16_t>(std::stoi(listen.substr(colon + 1))),
                        AnyAddress::kBothFamilies);
  };
  Result<ListeningSockets> opened = open();
  if (opened.ok()) return opened;
  return Status(StatusCode::kFailedPrecondition, "ADDRESS_IN_USE",
                "cannot listen on " + listen + ": the address is in use or not of this machine")
      .WithDetail(opened.status().message());
}

std::string BoundAddress(const std::string& listen, int port) {
  if (listen.starts_with(kUnixPrefix)) return listen;
  return listen.substr(0, listen.rfind(':') + 1) + std::to_string(port);
}

}  // namespace tightfit
