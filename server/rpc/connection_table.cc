#include "server/rpc/connection_table.h"

#include <poll.h>
#include <sys/stat.h>

#include <optional>
#include <vector>

namespace tightfit {
namespace {

// While all places are taken a look costs a call of the system for each connection, and whoever is
// refused can come again and again.
constexpr std::chrono::milliseconds kLookInterval{5};
// Connections that end may be open beside the limit, but not without end.
constexpr size_t kMaxEnding = 32;

// nullopt where `fd` is no open socket.
std::optional<ino_t> InodeOf(int fd) {
  struct stat about {};
  if (::fstat(fd, &about) != 0 || !S_ISSOCK(about.st_mode)) return std::nullopt;
  return about.st_ino;
}

}  // namespace

ConnectionTable::Verdict ConnectionTable::Judge(const std::string& host) {
  const Verdict verdict = JudgeByCounts(host);
  if (verdict == Verdict::kAdmit) return verdict;
  if (std::chrono::steady_clock::now() - looked_at_ < kLookInterval) return verdict;
  Look();
  return JudgeByCounts(host);
}

ConnectionTable::Verdict ConnectionTable::JudgeByCounts(const std::string& host) const {
  if (count_ >= limits_.max_connections ||
      connections_.size() >= static_cast<size_t>(limits_.max_connections) + kMaxEnding) {
    return Verdict::kOverLimit;
  }
  if (host.empty()) return Verdict::kAdmit;
  const auto of_host = counts_.find(host);
  const int32_t host_count = of_host == counts_.end() ? 0 : of_host->second;
  return host_count >= limits_.max_connections_per_address ? Verdict::kOverAddressLimit
                                                           : Verdict::kAdmit;
}

void ConnectionTable::Add(int fd, const std::string& host) {
  const std::optional<ino_t> inode = InodeOf(fd);
  if (!inode.has_value()) return;
  // An entry of this descriptor is of a connection that was closed unnoticed.
  const bool replaces = connections_.contains(fd);
  connections_.insert_or_assign(fd, Connection{*inode, host});
  if (replaces) return CountAgain();
  ++count_;
  ++counts_[host];
}

int32_t ConnectionTable::Look() {
  looked_at_ = std::chrono::steady_clock::now();
  std::vector<pollfd> polled;
  polled.reserve(connections_.size());
  for (const auto& [fd, connection] : connections_) polled.push_back({fd, POLLRDHUP, 0});
  ::poll(polled.data(), polled.size(), 0);
  for (const pollfd& each : polled) {
    const auto found = connections_.find(each.fd);
    if (InodeOf(each.fd) != found->second.inode) {
      connections_.erase(found);
    } else if ((each.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0) {
      found->second.is_ending = true;
    }
  }
  CountAgain();
  return count_;
}

void ConnectionTable::CountAgain() {
  count_ = 0;
  counts_.clear();
  for (const auto& [fd, connection] : connections_) {
    if (connection.is_ending) continue;
    ++count_;
    ++counts_[connection.host];
  }
}

}  // namespace tightfit
