// ByteBudget: how much calls may hold together.
#ifndef TIGHTFIT_SERVER_RPC_BYTE_BUDGET_H_
#define TIGHTFIT_SERVER_RPC_BYTE_BUDGET_H_

#include <atomic>
#include <cstdint>

namespace tightfit {

// Thread-safe.
class ByteBudget {
 public:
  // Takes `bytes` where at most `limit_bytes` are held then; otherwise nothing, and false.
  bool TryTake(int64_t bytes, int64_t limit_bytes) {
    int64_t held = held_bytes_.load();
    do {
      if (held > limit_bytes - bytes) return false;
    } while (!held_bytes_.compare_exchange_weak(held, held + bytes));
    return true;
  }
  void GiveBack(int64_t bytes) { held_bytes_ -= bytes; }

 private:
  std::atomic<int64_t> held_bytes_{0};
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_BYTE_BUDGET_H_
