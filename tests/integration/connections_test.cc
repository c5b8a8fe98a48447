// Strangers take every place for connections. Whoever is served stays served, and when they have
// gone everybody is again.
#include "tests/integration/http2_connection.h"
#include "tests/integration/raw_sockets.h"
#include "tests/integration/secure_fixture.h"
#include "tests/support/sanitizers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace tightfit {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using testing::HasSubstr;

constexpr char kHttp2Preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

class ConnectionsTest : public SecureFixture {
 protected:
  void StartWithTls(std::vector<std::string> more_flags) {
    std::vector<std::string> flags = TlsFlags(authority_.Issue());
    flags.insert(flags.end(), more_flags.begin(), more_flags.end());
    Start(flags);
  }

  client::ClientOptions TlsOptions() const {
    client::ClientOptions options = Options();
    options.tls = Trusting(authority_);
    return options;
  }

  std::string Scrape() const {
    httplib::Client client("http://" + server_->metrics_listen());
    client.set_read_timeout(20);
    const auto response = client.Get("/metrics");
    return response && response->status == 200 ? response->body : "";
  }

  double Metric(const std::string& series) const {
    const std::string page = Scrape();
    const size_t at = page.find("\n" + series + " ");
    return at == std::string::npos ? -1 : std::stod(page.substr(at + series.size() + 2));
  }

  // 500 of each kind, or as many as get through, from two addresses at once.
  std::vector<FileDescriptor> Strangers(std::string_view text) const {
    std::vector<FileDescriptor> all[2];
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) {
      threads.emplace_back([&, i] {
        for (int count = 0; count < 250; ++count) {
          all[i].push_back(
              ConnectFrom(i == 0 ? "127.0.0.1" : "127.0.0.2", server_->listen(), text));
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    std::move(all[1].begin(), all[1].end(), std::back_inserter(all[0]));
    return std::move(all[0]);
  }
};

TEST_F(ConnectionsTest, AFullServerServesWhoIsThereAndEveryoneAfterwards) {
  StartWithTls({"--max-connections=50"});
  client::GenerationClient good(TlsOptions());
  ASSERT_TRUE(good.GetServerInfo().ok());
  const int64_t before_kib = ProcessStatus("VmRSS");

  std::atomic<bool> stopping{false};
  std::atomic<int> served{0};
  std::string failure;
  std::thread good_calls([&] {
    while (!stopping) {
      const Status status = good.GetServerInfo().status();
      if (status.ok()) {
        ++served;
      } else if (failure.empty()) {
        failure = status.ForLog();
      }
      std::this_thread::sleep_for(milliseconds(10));
    }
  });
  for (const std::string_view text : {std::string_view(), kHalfClientHello}) {
    std::vector<FileDescriptor> strangers = Strangers(text);
    EXPECT_EQ(strangers.size(), 500u);
    const int served_before = served;
    EXPECT_TRUE(WaitUntil([&] { return served > served_before + 10; })) << failure;
    EXPECT_TRUE(WaitUntil([&] { return Metric("tightfit_connections") == 50; }))
        << Metric("tightfit_connections");
    EXPECT_LT(ProcessStatus("VmRSS") - before_kib, kSanitized ? 1 << 20 : 64 << 10);
    strangers.clear();
    for (int i = 0; i < 20; ++i) {
      const auto start = steady_clock::now();
      client::ClientOptions options = TlsOptions();
      options.connect_timeout = seconds(1);
      const Status status = Ask(options);
      EXPECT_TRUE(status.ok()) << i << ": " << status.ForLog();
      EXPECT_LT(steady_clock::now() - start, seconds(1)) << i;
    }
  }
  stopping = true;
  good_calls.join();
  EXPECT_EQ(failure, "");

  const auto refused_total = [&] {
    return Metric("tightfit_connections_refused_total{reason=\"limit\"}") +
           Metric("tightfit_connections_refused_total{reason=\"address_limit\"}");
  };
  EXPECT_TRUE(WaitUntil([&] { return refused_total() >= 2 * (500 - 50); })) << refused_total();
  const double over_limit = Metric("tightfit_connections_refused_total{reason=\"limit\"}");
  EXPECT_GT(over_limit, 0);
  EXPECT_EQ(Metric("tightfit_connections_refused_total{reason=\"descriptors\"}"), 0);
  const std::string log = Log();
  EXPECT_THAT(log, HasSubstr("connections were refused"));
  EXPECT_EQ(log.find("connections were refused"), log.rfind("connections were refused"))
      << "once a minute";
  EXPECT_THAT(log, HasSubstr("max_connections=50 max_connections_per_address=37"));
}

TEST_F(ConnectionsTest, OneAddressLeavesPlacesForOthers) {
  Start({"--max-connections=20", "--max-connections-per-address=10"});
  std::vector<FileDescriptor> strangers;
  for (int i = 0; i < 100; ++i) {
    strangers.push_back(ConnectFrom("127.0.0.2", server_->listen(), kHttp2Preface));
  }
  EXPECT_TRUE(Ask(Options()).ok()) << "from 127.0.0.1";
  // Counts are told once a second.
  const std::string refused = "tightfit_connections_refused_total{reason=\"address_limit\"}";
  EXPECT_TRUE(WaitUntil([&] { return Metric(refused) == 90; })) << Metric(refused);
  EXPECT_EQ(Metric("tightfit_connections_refused_total{reason=\"limit\"}"), 0);
}

// Silent connections cost a scrape nothing, however many they are.
TEST_F(ConnectionsTest, SilentConnectionsToTheMetricsPortDelayNoScrape) {
  Start();
  std::vector<FileDescriptor> silent;
  for (int i = 0; i < 200; ++i) {
    silent.push_back(ConnectFrom(i % 2 == 0 ? "127.0.0.1" : "127.0.0.2", server_->metrics_listen(),
                                 i % 3 == 0 ? "GET /met" : ""));
  }
  for (int i = 0; i < 10; ++i) {
    const auto start = steady_clock::now();
    EXPECT_THAT(Scrape(), HasSubstr("tightfit_connections"));
    EXPECT_LT(steady_clock::now() - start, seconds(2));
  }
}

// As a client does that keeps a connection open between two calls.
TEST_F(ConnectionsTest, PingsEveryTenSecondsAreWelcomeWithoutCallsAndFloodsAreNot) {
  Start();
  const auto connection = Http2Connection::Connect(server_->listen());
  ASSERT_TRUE(connection->OpenAndWait());
  const std::string payload(8, 'p');
  if (IsFull()) {
    for (int i = 0; i < 5; ++i) {
      ASSERT_TRUE(connection->SendFrame(FrameType::kPing, 0, 0, payload));
      const auto until = steady_clock::now() + seconds(10);
      while (steady_clock::now() < until) connection->Receive(milliseconds(100));
    }
    EXPECT_TRUE(connection->is_open());
    EXPECT_FALSE(connection->has_goaway());
  }
  for (int i = 0; i < 10; ++i) connection->SendFrame(FrameType::kPing, 0, 0, payload);
  EXPECT_TRUE(WaitUntil([&] {
    connection->Receive(milliseconds(10));
    return connection->has_goaway() || !connection->is_open();
  }));
}

}  // namespace
}  // namespace tightfit
