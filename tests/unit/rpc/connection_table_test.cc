#include "server/rpc/connection_table.h"

#include "server/base/file_descriptor.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <thread>
#include <vector>

namespace tightfit {
namespace {

using Verdict = ConnectionTable::Verdict;

struct Pair {
  FileDescriptor server;
  FileDescriptor client;
};

Pair Connected() {
  int ends[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

class ConnectionTableTest : public testing::Test {
 protected:
  void Add(const std::string& host) {
    pairs_.push_back(Connected());
    table_.Add(pairs_.back().server.get(), host);
  }
  // Later than the table would not look again.
  Verdict JudgeLater(const std::string& host) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return table_.Judge(host);
  }

  ConnectionTable table_{{.max_connections = 4, .max_connections_per_address = 3}};
  std::vector<Pair> pairs_;
};

TEST_F(ConnectionTableTest, HoldsBothLimits) {
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(table_.Judge("a"), Verdict::kAdmit);
    Add("a");
  }
  EXPECT_EQ(table_.Judge("a"), Verdict::kOverAddressLimit);
  EXPECT_EQ(table_.Judge("b"), Verdict::kAdmit);
  Add("b");
  EXPECT_EQ(table_.Judge("b"), Verdict::kOverLimit);
  EXPECT_EQ(table_.Look(), 4);
}

TEST_F(ConnectionTableTest, ConnectionsWithoutAnAddressCountInTheLimitOfAllAlone) {
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(table_.Judge(""), Verdict::kAdmit);
    Add("");
  }
  EXPECT_EQ(table_.Judge(""), Verdict::kOverLimit);
}

TEST_F(ConnectionTableTest, SeesThatTheOwnerClosedOne) {
  for (int i = 0; i < 4; ++i) Add("");
  pairs_[1].server.Reset();
  EXPECT_EQ(JudgeLater(""), Verdict::kAdmit);
  EXPECT_EQ(table_.Look(), 3);
}

TEST_F(ConnectionTableTest, SeesThatTheDescriptorIsAnotherSocketsByNow) {
  for (int i = 0; i < 4; ++i) Add("");
  const int fd = pairs_[1].server.get();
  const Pair other = Connected();
  ASSERT_EQ(::dup2(other.server.get(), fd), fd);
  EXPECT_EQ(table_.Look(), 3);
  // The other one is handed over under the same number.
  table_.Add(fd, "");
  EXPECT_EQ(table_.Look(), 4);
}

TEST_F(ConnectionTableTest, ADescriptorThatComesAgainBeforeALookCountsOnce) {
  for (int i = 0; i < 3; ++i) Add("a");
  const int fd = pairs_[0].server.get();
  const Pair other = Connected();
  ASSERT_EQ(::dup2(other.server.get(), fd), fd);
  table_.Add(fd, "b");
  EXPECT_EQ(table_.Judge("a"), Verdict::kAdmit);
  EXPECT_EQ(table_.Look(), 3);
}

TEST_F(ConnectionTableTest, AConnectionThatItsPeerClosedHoldsNoPlace) {
  for (int i = 0; i < 4; ++i) Add("");
  pairs_[2].client.Reset();
  EXPECT_EQ(JudgeLater(""), Verdict::kAdmit) << "its descriptor is still open";
}

TEST_F(ConnectionTableTest, ConnectionsThatEndButDoNotGoAreBounded) {
  int admitted = 0;
  while (admitted < 1000 &&
         (table_.Judge("") == Verdict::kAdmit || JudgeLater("") == Verdict::kAdmit)) {
    Add("");
    pairs_.back().client.Reset();
    ++admitted;
  }
  EXPECT_GT(admitted, 4);
  EXPECT_LT(admitted, 100);
}

}  // namespace
}  // namespace tightfit
