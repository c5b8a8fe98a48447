// TcpGate: a connection between a client and a server that a test can cut.
#ifndef TIGHTFIT_TESTS_UNIT_RPC_TCP_GATE_H_
#define TIGHTFIT_TESTS_UNIT_RPC_TCP_GATE_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>

namespace tightfit {

// Forwards one connection to a port of this machine.
class TcpGate {
 public:
  explicit TcpGate(const std::string& server_address) {
    const auto port =
        static_cast<uint16_t>(std::stoi(server_address.substr(server_address.rfind(':') + 1)));
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = Loopback(0);
    ::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address));
    ::listen(listener_, 1);
    socklen_t size = sizeof(address);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    address_ = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    thread_ = std::thread([this, port] { Forward(port); });
  }
  ~TcpGate() {
    Cut();
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
    if (client_ >= 0) ::close(client_);
    if (server_ >= 0) ::close(server_);
  }

  const std::string& address() const { return address_; }
  // Both sides see their connection end. Call after a call has gone through.
  void Cut() {
    if (client_ >= 0) ::shutdown(client_, SHUT_RDWR);
    if (server_ >= 0) ::shutdown(server_, SHUT_RDWR);
  }

 private:
  static sockaddr_in Loopback(uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }

  static void Pump(int from, int to) {
    char buffer[16384];
    while (true) {
      const ssize_t size = ::recv(from, buffer, sizeof(buffer), 0);
      if (size <= 0) break;
      for (ssize_t sent = 0; sent < size;) {
        const ssize_t part = ::send(to, buffer + sent, size - sent, MSG_NOSIGNAL);
        if (part <= 0) break;
        sent += part;
      }
    }
    ::shutdown(to, SHUT_RDWR);
  }

  void Forward(uint16_t port) {
    const int client = ::accept(listener_, nullptr, nullptr);
    if (client < 0) return;
    const int server = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address = Loopback(port);
    ::connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
    client_ = client;
    server_ = server;
    std::thread back([&] { Pump(server, client); });
    Pump(client, server);
    back.join();
  }

  int listener_ = -1;
  std::atomic<int> client_{-1};
  std::atomic<int> server_{-1};
  std::string address_;
  std::thread thread_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_UNIT_RPC_TCP_GATE_H_
