#include "server/memory/memory_accounts.h"

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>

namespace tightfit {
namespace {

thread_local MemoryAccount* current_account = nullptr;

std::atomic<int64_t> total_current{0};
std::atomic<int64_t> total_peak{0};

void RaiseTo(std::atomic<int64_t>& peak, int64_t value) {
  int64_t seen = peak.load(std::memory_order_relaxed);
  while (seen < value && !peak.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
}

using Key = std::tuple<std::string, std::string, MemoryPurpose>;

struct Table {
  std::mutex mutex;
  std::map<Key, std::unique_ptr<MemoryAccount>> accounts;
  MemoryAccount unowned{"", "", MemoryPurpose::kActivations};
};

// Never destroyed: tensors may be freed while static objects go.
Table& TheTable() {
  static Table* const table = new Table;
  return *table;
}

}  // namespace

std::string_view MemoryPurposeName(MemoryPurpose purpose) {
  switch (purpose) {
    case MemoryPurpose::kWeights:
      return "weights";
    case MemoryPurpose::kActivations:
      return "activations";
    case MemoryPurpose::kScratch:
      return "scratch";
    case MemoryPurpose::kHostCache:
      return "host_cache";
  }
  return "unknown";
}

void MemoryAccount::Charge(int64_t bytes) {
  RaiseTo(peak_bytes_, current_bytes_.fetch_add(bytes, std::memory_order_relaxed) + bytes);
  RaiseTo(total_peak, total_current.fetch_add(bytes, std::memory_order_relaxed) + bytes);
}

void MemoryAccount::Credit(int64_t bytes) {
  current_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  total_current.fetch_sub(bytes, std::memory_order_relaxed);
}

void MemoryAccount::HandOver(int64_t bytes, MemoryAccount* to) {
  current_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  RaiseTo(to->peak_bytes_, to->current_bytes_.fetch_add(bytes, std::memory_order_relaxed) + bytes);
}

void MemoryAccount::ResetPeak() { peak_bytes_.store(current_bytes()); }

MemoryAccounts& MemoryAccounts::Instance() {
  static MemoryAccounts* const accounts = new MemoryAccounts;
  return *accounts;
}

MemoryAccount* MemoryAccounts::Get(std::string_view model, std::string_view component,
                                   MemoryPurpose purpose) {
  Table& table = TheTable();
  const std::lock_guard lock(table.mutex);
  std::unique_ptr<MemoryAccount>& slot =
      table.accounts[Key(std::string(model), std::string(component), purpose)];
  if (slot == nullptr) {
    slot = std::make_unique<MemoryAccount>(std::string(model), std::string(component), purpose);
  }
  return slot.get();
}

MemoryAccount* MemoryAccounts::unowned() { return &TheTable().unowned; }

std::vector<MemoryUse> MemoryAccounts::Snapshot(std::string_view model) const {
  Table& table = TheTable();
  const std::lock_guard lock(table.mutex);
  std::vector<MemoryUse> uses;
  for (const auto& [key, account] : table.accounts) {
    if (account->model() != model) continue;
    uses.push_back({account->component(), account->purpose(), account->current_bytes(),
                    account->peak_bytes()});
  }
  return uses;
}

int64_t MemoryAccounts::TotalOf(MemoryPurpose purpose) const {
  Table& table = TheTable();
  const std::lock_guard lock(table.mutex);
  int64_t bytes = 0;
  for (const auto& [key, account] : table.accounts) {
    if (account->purpose() == purpose) bytes += account->current_bytes();
  }
  return bytes;
}

int64_t MemoryAccounts::total_bytes() const { return total_current.load(); }
int64_t MemoryAccounts::total_peak_bytes() const { return total_peak.load(); }
void MemoryAccounts::ResetTotalPeak() { total_peak.store(total_current.load()); }

ScopedMemoryAccount::ScopedMemoryAccount(MemoryAccount* account) : previous_(current_account) {
  current_account = account;
}
ScopedMemoryAccount::~ScopedMemoryAccount() { current_account = previous_; }

MemoryAccount* ScopedMemoryAccount::Current() {
  return current_account != nullptr ? current_account : MemoryAccounts::Instance().unowned();
}

}  // namespace tightfit
