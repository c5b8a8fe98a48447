#include "server/telemetry/metrics_endpoint.h"

#include <gtest/gtest.h>
#include <httplib.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

namespace tightfit {
namespace {

std::unique_ptr<MetricsEndpoint> Start(uint16_t port = 0) {
  Result<std::unique_ptr<MetricsEndpoint>> endpoint =
      MetricsEndpoint::Start("127.0.0.1", port, [] { return std::string("tightfit_x 1\n"); });
  EXPECT_TRUE(endpoint.ok()) << endpoint.status().message();
  return endpoint.ok() ? std::move(endpoint).value() : nullptr;
}

TEST(MetricsEndpointTest, ServesThePageOnThePortThatItTells) {
  const auto endpoint = Start();
  ASSERT_NE(endpoint->port(), 0);
  const auto response = httplib::Client("127.0.0.1", endpoint->port()).Get("/metrics");
  ASSERT_TRUE(response);
  EXPECT_EQ(response->status, 200);
  EXPECT_EQ(response->body, "tightfit_x 1\n");
  EXPECT_EQ(response->get_header_value("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
}

TEST(MetricsEndpointTest, AnswersOtherPathsAndMethodsSanely) {
  const auto endpoint = Start();
  httplib::Client client("127.0.0.1", endpoint->port());
  const auto root = client.Get("/");
  ASSERT_TRUE(root);
  EXPECT_EQ(root->status, 200);
  EXPECT_NE(root->body.find("/metrics"), std::string::npos);
  const auto head = client.Head("/metrics");
  ASSERT_TRUE(head);
  EXPECT_EQ(head->status, 200);
  EXPECT_EQ(head->body, "");
  EXPECT_EQ(client.Get("/nothing")->status, 404);
  EXPECT_EQ(client.Get("/metrics/../secret")->status, 404);
  EXPECT_EQ(client.Post("/metrics", "x", "text/plain")->status, 404);
}

TEST(MetricsEndpointTest, RefusesAPortInUse) {
  const auto endpoint = Start();
  const auto second =
      MetricsEndpoint::Start("127.0.0.1", endpoint->port(), [] { return std::string(); });
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().reason(), "ADDRESS_UNUSABLE");
  EXPECT_NE(second.status().message().find("Address already in use"), std::string::npos)
      << second.status().message();
}

TEST(MetricsEndpointTest, RefusesAnAddressThatIsNotThisMachines) {
  const auto endpoint = MetricsEndpoint::Start("192.0.2.1", 0, [] { return std::string(); });
  EXPECT_FALSE(endpoint.ok());
}

TEST(MetricsEndpointTest, TakesThePortAgainAfterAStop) {
  auto endpoint = Start();
  const uint16_t port = endpoint->port();
  ASSERT_TRUE(httplib::Client("127.0.0.1", port).Get("/metrics"));
  endpoint.reset();
  EXPECT_NE(Start(port), nullptr);
}

// A socket that has sent `text` and says nothing more.
int Silent(uint16_t port, const std::string& text) {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(socket, reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
  if (!text.empty()) {
    EXPECT_GT(::send(socket, text.data(), text.size(), MSG_NOSIGNAL), 0);
  }
  return socket;
}

std::string ReadAll(int socket) {
  std::string all;
  char bytes[4096];
  for (ssize_t count = 0; (count = ::recv(socket, bytes, sizeof(bytes), 0)) > 0;) {
    all.append(bytes, static_cast<size_t>(count));
  }
  ::close(socket);
  return all;
}

TEST(MetricsEndpointTest, SilentConnectionsKeepNobodyWaiting) {
  const auto endpoint = Start();
  std::vector<int> silent;
  for (int i = 0; i < 200; ++i) {
    silent.push_back(Silent(endpoint->port(), i % 2 == 0 ? "" : "GET /metrics HTTP/1.1\r\n"));
  }
  for (int i = 0; i < 5; ++i) {
    const auto start = std::chrono::steady_clock::now();
    ASSERT_TRUE(httplib::Client("127.0.0.1", endpoint->port()).Get("/metrics"));
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
  }
  // The first were closed for the last, so their places are bounded.
  EXPECT_EQ(ReadAll(silent.front()), "");
  for (size_t i = 1; i < silent.size(); ++i) ::close(silent[i]);
}

TEST(MetricsEndpointTest, AnswersARequestThatComesInPieces) {
  const auto endpoint = Start();
  const int socket = Silent(endpoint->port(), "GET /met");
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const std::string rest = "rics?x=1 HTTP/1.0\r\n\r\n";
  ASSERT_EQ(::send(socket, rest.data(), rest.size(), 0), static_cast<ssize_t>(rest.size()));
  EXPECT_NE(ReadAll(socket).find("tightfit_x 1"), std::string::npos);
}

TEST(MetricsEndpointTest, RefusesWhatIsNoRequest) {
  const auto endpoint = Start();
  EXPECT_EQ(ReadAll(Silent(endpoint->port(), "hello\r\n\r\n")).substr(0, 12), "HTTP/1.1 400");
  EXPECT_EQ(ReadAll(Silent(endpoint->port(), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")).substr(0, 12),
            "HTTP/1.1 400");
  EXPECT_EQ(ReadAll(Silent(endpoint->port(), "GET /" + std::string(9000, 'x'))).substr(0, 12),
            "HTTP/1.1 431");
}

TEST(MetricsEndpointTest, FinishesALargePageForASlowReader) {
  const std::string page(8 << 20, 'x');
  const auto endpoint = *MetricsEndpoint::Start("127.0.0.1", 0, [&] { return page; });
  const int slow = Silent(endpoint->port(), "GET /metrics HTTP/1.1\r\n\r\n");
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  ASSERT_TRUE(httplib::Client("127.0.0.1", endpoint->port()).Get("/"));
  EXPECT_GT(ReadAll(slow).size(), page.size());
}

TEST(MetricsEndpointTest, ServesManyScrapersAtOnce) {
  const auto endpoint = Start();
  std::atomic<int> served{0};
  std::vector<std::thread> scrapers;
  for (int t = 0; t < 8; ++t) {
    scrapers.emplace_back([&] {
      httplib::Client client("127.0.0.1", endpoint->port());
      client.set_keep_alive(true);
      for (int i = 0; i < 10; ++i) {
        const auto response = client.Get("/metrics");
        if (response && response->status == 200) ++served;
      }
    });
  }
  for (std::thread& scraper : scrapers) scraper.join();
  EXPECT_EQ(served, 80);
}

}  // namespace
}  // namespace tightfit
