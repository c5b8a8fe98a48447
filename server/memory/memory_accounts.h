// MemoryAccounts: who holds how many bytes of tensor storage, exactly.
//
// An account is (model, component, purpose). A counting allocator (server/model, LibTorch) charges
// every allocation to the account that is current on the allocating thread and remembers it with
// the pointer, so that a free on any thread credits the right account. Free of LibTorch.
#ifndef TIGHTFIT_SERVER_MEMORY_MEMORY_ACCOUNTS_H_
#define TIGHTFIT_SERVER_MEMORY_MEMORY_ACCOUNTS_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tightfit {

enum class MemoryPurpose {
  kWeights,      // what stays while the model is resident
  kActivations,  // what a running request holds
  kScratch,      // staging buffers while loading, decoded weights while computing
  kHostCache,    // weights that left the device and stay packed in host memory
};
// "weights", "activations", "scratch", "host_cache"
std::string_view MemoryPurposeName(MemoryPurpose purpose);

// One account. Thread-safe. Lives until the process ends, so a raw pointer to it never dangles.
class MemoryAccount {
 public:
  MemoryAccount(std::string model, std::string component, MemoryPurpose purpose)
      : model_(std::move(model)), component_(std::move(component)), purpose_(purpose) {}

  void Charge(int64_t bytes);
  void Credit(int64_t bytes);
  // Of what is charged here, `bytes` are `to`'s from now on.
  void HandOver(int64_t bytes, MemoryAccount* to);
  // Peak restarts from the current value: to measure one load or one request.
  void ResetPeak();

  const std::string& model() const { return model_; }
  const std::string& component() const { return component_; }
  MemoryPurpose purpose() const { return purpose_; }
  int64_t current_bytes() const { return current_bytes_.load(std::memory_order_relaxed); }
  int64_t peak_bytes() const { return peak_bytes_.load(std::memory_order_relaxed); }

 private:
  const std::string model_;
  const std::string component_;
  const MemoryPurpose purpose_;
  std::atomic<int64_t> current_bytes_{0};
  std::atomic<int64_t> peak_bytes_{0};
};

struct MemoryUse {
  std::string component;  // "unet", "text_encoder", "text_encoder_2", "vae"
  MemoryPurpose purpose;
  int64_t current_bytes;
  int64_t peak_bytes;
};

// The process's accounts. Thread-safe; one instance, never destroyed.
class MemoryAccounts {
 public:
  static MemoryAccounts& Instance();

  // The account of that name, made on first use.
  MemoryAccount* Get(std::string_view model, std::string_view component, MemoryPurpose purpose);
  // Bytes allocated while no account was current.
  MemoryAccount* unowned();

  // All accounts of `model` in order of component, then purpose.
  std::vector<MemoryUse> Snapshot(std::string_view model) const;
  // What all accounts of `purpose` hold.
  int64_t TotalOf(MemoryPurpose purpose) const;
  // Sum over all accounts, `unowned` included.
  int64_t total_bytes() const;
  // Largest value of total_bytes() since the last ResetTotalPeak().
  int64_t total_peak_bytes() const;
  void ResetTotalPeak();

  // How often an allocation has failed for want of memory. Libraries turn such an exception into
  // others on its way: whoever compares before and after knows what it was.
  int64_t failed_count() const { return failed_count_.load(std::memory_order_relaxed); }
  void CountFailed() { failed_count_.fetch_add(1, std::memory_order_relaxed); }

 private:
  MemoryAccounts() = default;

  std::atomic<int64_t> failed_count_{0};
};

// Makes `account` current on this thread until the end of the scope. Scopes nest.
class ScopedMemoryAccount {
 public:
  explicit ScopedMemoryAccount(MemoryAccount* account);
  ~ScopedMemoryAccount();
  ScopedMemoryAccount(const ScopedMemoryAccount&) = delete;
  ScopedMemoryAccount& operator=(const ScopedMemoryAccount&) = delete;

  // The account current on this thread; `unowned` outside every scope.
  static MemoryAccount* Current();

 private:
  MemoryAccount* const previous_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_MEMORY_MEMORY_ACCOUNTS_H_
