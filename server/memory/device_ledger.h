// DeviceLedger: who may use how many bytes of a device. Bytes are reserved before work begins and
// given back when it is over, so that work that would not fit never starts.
//
//   1. The sum of all reservations never passes the limit.
//   2. Every reservation is given back exactly once, whatever path leads out of the work.
//   3. A reservation is an upper bound of what its work takes; Resize brings it to the true figure.
//
// It counts promises; MemoryAccounts count allocations. Free of LibTorch.
#ifndef TIGHTFIT_SERVER_MEMORY_DEVICE_LEDGER_H_
#define TIGHTFIT_SERVER_MEMORY_DEVICE_LEDGER_H_

#include "server/memory/memory_accounts.h"

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace tightfit {

class DeviceLedger;

// Bytes set aside; gives them back when it goes. Movable. The ledger must outlive it.
class MemoryReservation {
 public:
  MemoryReservation() = default;
  MemoryReservation(MemoryReservation&& other) noexcept;
  MemoryReservation& operator=(MemoryReservation&& other) noexcept;
  ~MemoryReservation() { Release(); }

  int64_t bytes() const { return bytes_; }
  // Takes or gives back the difference. False, and nothing changed, where it does not fit.
  bool Resize(int64_t bytes);
  void Release();

 private:
  friend class DeviceLedger;
  MemoryReservation(DeviceLedger* ledger, std::string owner, MemoryPurpose purpose, int64_t bytes)
      : ledger_(ledger), owner_(std::move(owner)), purpose_(purpose), bytes_(bytes) {}

  DeviceLedger* ledger_ = nullptr;
  std::string owner_;
  MemoryPurpose purpose_ = MemoryPurpose::kWeights;
  int64_t bytes_ = 0;
};

struct LedgerUse {
  std::string owner;
  MemoryPurpose purpose;
  int64_t bytes;
};

// Thread-safe.
class DeviceLedger {
 public:
  explicit DeviceLedger(int64_t limit_bytes);
  ~DeviceLedger();
  DeviceLedger(const DeviceLedger&) = delete;
  DeviceLedger& operator=(const DeviceLedger&) = delete;

  // Sets `bytes` >= 0 aside for `owner`; nullopt where they do not fit.
  std::optional<MemoryReservation> Reserve(const std::string& owner, MemoryPurpose purpose,
                                           int64_t bytes);

  int64_t limit_bytes() const { return limit_bytes_; }
  int64_t reserved_bytes() const;
  int64_t free_bytes() const;
  // What is reserved now, in order of owner, then purpose; nothing of zero bytes.
  std::vector<LedgerUse> Snapshot() const;

 private:
  friend class MemoryReservation;
  // Adds `bytes`, which may be negative; false where the limit would be passed.
  bool Add(const std::string& owner, MemoryPurpose purpose, int64_t bytes);

  class Table;
  const int64_t limit_bytes_;
  const std::unique_ptr<Table> table_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_MEMORY_DEVICE_LEDGER_H_
