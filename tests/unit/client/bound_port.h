// A loopback port that this process holds, so that no server can be there.
#ifndef TIGHTFIT_TESTS_UNIT_CLIENT_BOUND_PORT_H_
#define TIGHTFIT_TESTS_UNIT_CLIENT_BOUND_PORT_H_

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

namespace tightfit::testing {

// Refuses connections, or with `listens` accepts them and never says a word.
class BoundPort {
 public:
  explicit BoundPort(bool listens) : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(bind(socket_, generic, length), 0);
    if (listens) {
      EXPECT_EQ(listen(socket_, 1), 0);
    }
    getsockname(socket_, generic, &length);
    port_ = ntohs(address.sin_port);
  }
  ~BoundPort() { close(socket_); }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

 private:
  int socket_;
  int port_ = 0;
};

}  // namespace tightfit::testing

#endif  // TIGHTFIT_TESTS_UNIT_CLIENT_BOUND_PORT_H_
