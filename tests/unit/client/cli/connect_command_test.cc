// What a user is told where there is no server to talk to, and how soon.
#include "tests/unit/client/bound_port.h"
#include "tests/unit/client/cli/run_command.h"
#include "tests/unit/client/scripted_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <chrono>
#include <string>
#include <thread>

namespace tightfit::cli::testing {
namespace {

using ::testing::HasSubstr;
using tightfit::testing::BoundPort;
using tightfit::testing::ErrorParts;
using tightfit::testing::MakeError;
using tightfit::testing::ScriptedServer;

RunResult Info(const std::string& server, std::vector<std::string> environment = {}) {
  return RunTightfit({.arguments = {"info", "--server", server, "--connect-timeout", "600"},
                      .environment = std::move(environment)});
}

TEST(ConnectCommandTest, ARefusedConnectionIsToldWithoutWaiting) {
  const BoundPort refused(/*listens=*/false);
  const RunResult run = Info(refused.address());  // ten minutes are allowed, half a one would fail
  EXPECT_EQ(run.exit_code, 3);
  EXPECT_EQ(run.err, "error: no server listens at " + refused.address() +
                         ": the connection was refused; is tightfit-server running there? "
                         "(--server, TIGHTFIT_SERVER) [CANNOT_CONNECT]\n");
  EXPECT_EQ(Info("unix:/no/such/socket").exit_code, 3);
}

// Answers every connection as a web server does that was sent no HTTP/1.
class WebServer {
 public:
  WebServer() : listener_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(bind(listener_, generic, length), 0);
    EXPECT_EQ(listen(listener_, 16), 0);
    getsockname(listener_, generic, &length);
    address_ = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    thread_ = std::thread([this] { Serve(); });
  }
  ~WebServer() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
  }
  const std::string& address() const { return address_; }

 private:
  void Serve() const {
    for (int peer; (peer = accept(listener_, nullptr, nullptr)) >= 0; close(peer)) {
      char request[4096];
      const std::string answer = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
      if (recv(peer, request, sizeof(request), 0) <= 0) continue;
      send(peer, answer.data(), answer.size(), MSG_NOSIGNAL);
    }
  }

  const int listener_;
  std::string address_;
  std::thread thread_;
};

TEST(ConnectCommandTest, AWebServerIsToldApartFromAServerThatIsDown) {
  const WebServer web;
  const RunResult run = Info(web.address());
  EXPECT_EQ(run.exit_code, 3);
  EXPECT_EQ(run.err, "error: " + web.address() +
                         " answers, but not as a gRPC server does; is it the port of a web server, "
                         "such as that of GET /metrics? (--server, TIGHTFIT_SERVER) [NOT_GRPC]\n");
}

TEST(ConnectCommandTest, NoTokenAndAnUnknownOneAreTwoMessages) {
  const ScriptedServer server({.get_server_info = [](v1::GetServerInfoResponse&) {
    return MakeError({.code = grpc::StatusCode::UNAUTHENTICATED,
                      .message = "send the metadata authorization: Bearer TOKEN",
                      .reason = "INVALID_CREDENTIALS"});
  }});
  const RunResult none = Info(server.address());
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_EQ(none.err,
            "error: no token was sent, and this server takes calls with one only (--token-file "
            "FILE or TIGHTFIT_TOKEN) [INVALID_CREDENTIALS]\n");
  const RunResult wrong = Info(server.address(), {"TIGHTFIT_TOKEN=wrong"});
  EXPECT_EQ(wrong.err,
            "error: the server does not know this token (--token-file FILE or TIGHTFIT_TOKEN) "
            "[INVALID_CREDENTIALS]\n");
}

TEST(ConnectCommandTest, LimitsAreNamedAsOptions) {
  const ScriptedServer server(
      {.stream_images = [](grpc::ServerContext&, const v1::StreamImagesRequest&, auto&) {
        return MakeError({.message = "2 fields are wrong",
                          .reason = "INVALID_PARAMETER",
                          .violations = {{"width_px", "must be a multiple of 8"},
                                         {"step_count", "must be 1 to 150"}}});
      }});
  const RunResult run =
      RunTightfit({.arguments = {"generate", "apple", "--server", server.address()}});
  EXPECT_THAT(run.err, HasSubstr("error: --width: must be a multiple of 8\n"
                                 "error: --steps: must be 1 to 150\n"));
}

TEST(ConnectCommandTest, AMissingModelIsToldWithTheModelsThatThereAre) {
  const ScriptedServer server(
      {.stream_images =
           [](grpc::ServerContext&, const v1::StreamImagesRequest&, auto&) {
             return MakeError(
                 {.message = "model",
                  .reason = "INVALID_PARAMETER",
                  .violations = {{"model", "is required, because several are configured"}}});
           },
       .list_models =
           [](const v1::ListModelsRequest&, v1::ListModelsResponse& response) {
             response.add_models()->set_name("first");
             response.add_models()->set_name("second");
             return grpc::Status::OK;
           }});
  const RunResult run =
      RunTightfit({.arguments = {"generate", "apple", "--server", server.address()}});
  EXPECT_THAT(run.err, HasSubstr("error: --model: is required, because several are configured; the "
                                 "server has first, second\n"));
}

}  // namespace
}  // namespace tightfit::cli::testing
