#include "server/telemetry/metrics_endpoint.h"

#include <gtest/gtest.h>
#include <httplib.h>

#include <atomic>

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
