// RawSockets: connections that do what no client does, from any address of this machine.
#ifndef TIGHTFIT_TESTS_INTEGRATION_RAW_SOCKETS_H_
#define TIGHTFIT_TESTS_INTEGRATION_RAW_SOCKETS_H_

#include "server/base/file_descriptor.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace tightfit {

// The beginning of a TLS handshake that does not go on.
inline constexpr std::string_view kHalfClientHello("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                                                   11);

inline sockaddr_in LoopbackAddress(const char* host, uint16_t port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  inet_pton(AF_INET, host, &address.sin_addr);
  return address;
}

// From `source`, "127.0.0.2", to "127.0.0.1:PORT"; then sends `text`. Not open where it fails.
inline FileDescriptor ConnectFrom(const char* source, const std::string& to,
                                  std::string_view text = {}) {
  FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in from = LoopbackAddress(source, 0);
  const auto port = static_cast<uint16_t>(std::stoi(to.substr(to.rfind(':') + 1)));
  const sockaddr_in target = LoopbackAddress("127.0.0.1", port);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&from), sizeof(from)) != 0 ||
      ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&target), sizeof(target)) != 0) {
    return FileDescriptor();
  }
  if (!text.empty()) ::send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL);
  return socket;
}

// Whether the peer closes the connection within `patience`. Reads what comes before.
inline bool WaitForClose(const FileDescriptor& socket, std::chrono::milliseconds patience) {
  const auto give_up_at = std::chrono::steady_clock::now() + patience;
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(give_up_at - std::chrono::steady_clock::now());
    pollfd polled = {socket.get(), POLLIN, 0};
    if (left.count() <= 0 || ::poll(&polled, 1, static_cast<int>(left.count())) != 1) return false;
    char bytes[4096];
    if (::recv(socket.get(), bytes, sizeof(bytes), 0) <= 0) return true;
  }
}

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_INTEGRATION_RAW_SOCKETS_H_
