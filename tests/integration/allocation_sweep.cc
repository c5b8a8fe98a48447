// What a load and a request do when memory runs out at any of their allocations.
//
//   allocation_sweep MODEL_DIR
//
// From the k-th tensor on no allocation succeeds, for k = 1, 2, ... and then in growing steps,
// until one is past the last: each time the work must end in RESOURCE_EXHAUSTED with every byte
// given back, and the next one must succeed. Then the k-th allocation alone fails: the image must
// be the same, or refused. Exit 1 where any of it is not so.
#include "server/memory/memory_accounts.h"
#include "tests/integration/one_image.h"

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace {

// Of the counting allocator, which aligns to so many bytes and calls aligned_alloc for each tensor.
constexpr size_t kTensorAlignment = 64;
constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

std::atomic<int64_t> first_failing{kNever};
std::atomic<int64_t> last_failing{kNever};
std::atomic<int64_t> count{0};

}  // namespace

// Stands in for the C library's in this program.
extern "C" void* aligned_alloc(size_t alignment, size_t size) {
  if (alignment == kTensorAlignment) {
    const int64_t index = ++count;
    if (index >= first_failing && index <= last_failing) return nullptr;
  }
  void* block = nullptr;
  return posix_memalign(&block, alignment, size) == 0 ? block : nullptr;
}

namespace tightfit {
namespace {

constexpr int64_t kLimitBytes = int64_t{1} << 30;

// While it lives, allocations fail from the `first` to the `last`.
class FailingAllocations {
 public:
  FailingAllocations(int64_t first, int64_t last) {
    count = 0;
    first_failing = first;
    last_failing = last;
  }
  ~FailingAllocations() { first_failing = last_failing = kNever; }
  FailingAllocations(const FailingAllocations&) = delete;
  FailingAllocations& operator=(const FailingAllocations&) = delete;
};

int64_t NextK(int64_t k) { return k < 24 ? k + 1 : k + k / 6; }

int failures = 0;

void Expect(bool good, const std::string& what, int64_t k, const Status& status) {
  if (good) return;
  ++failures;
  std::printf("k = %lld: %s; %s\n", static_cast<long long>(k), what.c_str(),
              status.ForLog().c_str());
}

// Without the buffer that weights are unpacked into, which stays for all models.
int64_t ReservedBytes(const DeviceLedger& ledger) {
  int64_t bytes = 0;
  for (const LedgerUse& use : ledger.Snapshot()) bytes += use.owner.empty() ? 0 : use.bytes;
  return bytes;
}

int64_t TensorBytes() {
  MemoryAccounts& accounts = MemoryAccounts::Instance();
  return accounts.total_bytes() - accounts.unowned()->current_bytes();
}

// `work` under failures from k on, until it succeeds; then `undo`.
void Sweep(const char* name, DeviceLedger& ledger, const std::function<Status()>& work,
           const std::function<Status()>& undo) {
  int tried = 0;
  for (int64_t k = 1;; k = NextK(k), ++tried) {
    const int64_t reserved_bytes = ReservedBytes(ledger);
    const int64_t tensor_bytes = TensorBytes();
    Status status;
    {
      const FailingAllocations failing(k, kNever - 1);
      status = work();
    }
    if (status.ok()) {
      Expect(undo().ok(), "could not be undone", k, status);
      break;
    }
    Expect(status.code() == StatusCode::kResourceExhausted, "ended otherwise", k, status);
    Expect(ReservedBytes(ledger) == reserved_bytes, "the ledger is not as it was", k, status);
    // A graph that was read stays, without weights.
    Expect(TensorBytes() - tensor_bytes < 64 << 10, "tensors stayed", k, status);
    if (tried % 8 != 0) continue;
    const Status next = work();
    Expect(next.ok(), "the next one failed", k, next);
    Expect(undo().ok(), "could not be undone", k, next);
  }
  std::printf("%s: %d points of failure\n", name, tried);
}

Status Run(const std::string& model_directory) {
  DeviceLedger ledger(kLimitBytes);
  OneModelServer server(model_directory, /*host_cache_bytes=*/0, &ledger);
  const auto load = [&] { return server.Load(); };
  const auto unload = [&] { return server.Unload(); };
  Sweep("first load", ledger, load, unload);
  Sweep("load into the graph that stayed", ledger, load, unload);
  TF_RETURN_IF_ERROR(server.Load());
  for (const std::string sampler : {"euler-a", "dpmpp-2m"}) {
    TF_ASSIGN_OR_RETURN(const std::vector<uint8_t> image, server.Draw(sampler));
    Sweep(("image by " + sampler).c_str(), ledger, [&] { return server.Draw(sampler).status(); },
          [] { return OkStatus(); });
    const Result<std::vector<uint8_t>> again = server.Draw(sampler);
    Expect(again.ok() && *again == image, "the next image is another one", 0, again.status());
    int same = 0;
    int refused = 0;
    for (int64_t k = 1;; k = NextK(k)) {
      bool has_failed = false;
      Result<std::vector<uint8_t>> drawn = Internal("");
      {
        const FailingAllocations failing(k, k);
        drawn = server.Draw(sampler);
        has_failed = count >= k;
      }
      if (!has_failed) break;
      if (drawn.ok()) {
        ++same;
        Expect(*drawn == image, "tried once more, it drew another image", k, OkStatus());
      } else {
        ++refused;
        Expect(drawn.status().code() == StatusCode::kResourceExhausted, "ended otherwise", k,
               drawn.status());
      }
    }
    std::printf("one failure, %s: %d images the same, %d refused\n", sampler.c_str(), same,
                refused);
    Expect(same > 0, "nothing was tried once more", 0, OkStatus());
  }
  return server.Unload();
}

}  // namespace
}  // namespace tightfit

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: allocation_sweep MODEL_DIR\n");
    return 2;
  }
  const tightfit::Status status = tightfit::Run(argv[1]);
  if (!status.ok()) std::printf("%s\n", status.ForLog().c_str());
  return status.ok() && tightfit::failures == 0 ? 0 : 1;
}
