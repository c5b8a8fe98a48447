#include "server/memory/device_ledger.h"

#include <map>
#include <utility>

namespace tightfit {

class DeviceLedger::Table {
 public:
  mutable std::mutex mutex;
  int64_t reserved_bytes = 0;
  std::map<std::pair<std::string, MemoryPurpose>, int64_t> by_use;
};

MemoryReservation::MemoryReservation(MemoryReservation&& other) noexcept
    : ledger_(std::exchange(other.ledger_, nullptr)),
      owner_(std::move(other.owner_)),
      purpose_(other.purpose_),
      bytes_(std::exchange(other.bytes_, 0)) {}

MemoryReservation& MemoryReservation::operator=(MemoryReservation&& other) noexcept {
  if (this == &other) return *this;
  Release();
  ledger_ = std::exchange(other.ledger_, nullptr);
  owner_ = std::move(other.owner_);
  purpose_ = other.purpose_;
  bytes_ = std::exchange(other.bytes_, 0);
  return *this;
}

bool MemoryReservation::Resize(int64_t bytes) {
  if (ledger_ == nullptr || bytes < 0) return false;
  if (!ledger_->Add(owner_, purpose_, bytes - bytes_)) return false;
  bytes_ = bytes;
  return true;
}

void MemoryReservation::Release() {
  if (ledger_ == nullptr) return;
  std::exchange(ledger_, nullptr)->Add(owner_, purpose_, -std::exchange(bytes_, 0));
}

DeviceLedger::DeviceLedger(int64_t limit_bytes)
    : limit_bytes_(limit_bytes), table_(std::make_unique<Table>()) {}

DeviceLedger::~DeviceLedger() = default;

std::optional<MemoryReservation> DeviceLedger::Reserve(const std::string& owner,
                                                       MemoryPurpose purpose, int64_t bytes) {
  if (bytes < 0 || !Add(owner, purpose, bytes)) return std::nullopt;
  return MemoryReservation(this, owner, purpose, bytes);
}

bool DeviceLedger::Add(const std::string& owner, MemoryPurpose purpose, int64_t bytes) {
  const std::lock_guard lock(table_->mutex);
  // Written so that nothing can overflow: both sides lie between 0 and the limit.
  if (bytes > 0 && bytes > limit_bytes_ - table_->reserved_bytes) return false;
  table_->reserved_bytes += bytes;
  const auto use = table_->by_use.try_emplace({owner, purpose}, 0).first;
  use->second += bytes;
  if (use->second == 0) table_->by_use.erase(use);
  return true;
}

int64_t DeviceLedger::reserved_bytes() const {
  const std::lock_guard lock(table_->mutex);
  return table_->reserved_bytes;
}

int64_t DeviceLedger::free_bytes() const { return limit_bytes_ - reserved_bytes(); }

std::vector<LedgerUse> DeviceLedger::Snapshot() const {
  const std::lock_guard lock(table_->mutex);
  std::vector<LedgerUse> uses;
  for (const auto& [use, bytes] : table_->by_use) uses.push_back({use.first, use.second, bytes});
  return uses;
}

}  // namespace tightfit
