#include "server/device/counting_allocator.h"

#include "server/device/run_torch.h"
#include "server/memory/memory_accounts.h"

#include <gtest/gtest.h>
#include <torch/script.h>

#include <cstdint>
#include <thread>

namespace tightfit {
namespace {

MemoryAccount* Account(const char* model) {
  return MemoryAccounts::Instance().Get(model, "unet", MemoryPurpose::kActivations);
}

TEST(CountingAllocatorTest, ChargesExactlyTheBytesOfTheStorage) {
  MemoryAccount* const account = Account("exact");
  const ScopedMemoryAccount scope(account);
  for (const int64_t size : {1, 2, 63, 64, 65, 4097, 1 << 20}) {
    const at::Tensor tensor = at::empty({size}, at::kByte);
    EXPECT_EQ(account->current_bytes(), size);
  }
  EXPECT_EQ(account->current_bytes(), 0);
  EXPECT_EQ(account->peak_bytes(), 1 << 20);
}

TEST(CountingAllocatorTest, ChargesNothingForViewsAndEmptyTensors) {
  MemoryAccount* const account = Account("views");
  const ScopedMemoryAccount scope(account);
  const at::Tensor tensor = at::empty({8, 8}, at::kFloat);
  const at::Tensor view = tensor.transpose(0, 1).slice(0, 2, 4);
  const at::Tensor empty = at::empty({0}, at::kFloat);
  EXPECT_EQ(account->current_bytes(), 256);
}

TEST(CountingAllocatorTest, CreditsTheAccountThatWasCharged) {
  MemoryAccount* const first = Account("first");
  MemoryAccount* const second = Account("second");
  at::Tensor tensor;
  {
    const ScopedMemoryAccount scope(first);
    tensor = at::empty({1000}, at::kByte);
  }
  const ScopedMemoryAccount scope(second);
  EXPECT_EQ(first->current_bytes(), 1000);
  tensor.reset();
  EXPECT_EQ(first->current_bytes(), 0);
  EXPECT_EQ(second->current_bytes(), 0);
}

TEST(CountingAllocatorTest, CreditsFromAnotherThread) {
  MemoryAccount* const account = Account("thread");
  at::Tensor tensor;
  {
    const ScopedMemoryAccount scope(account);
    tensor = at::empty({1000}, at::kByte);
  }
  std::thread([moved = std::move(tensor)]() mutable { moved.reset(); }).join();
  EXPECT_EQ(account->current_bytes(), 0);
}

TEST(CountingAllocatorTest, SeesTheTemporariesOfAnOperator) {
  MemoryAccount* const account = Account("temporaries");
  const ScopedMemoryAccount scope(account);
  const at::Tensor a = at::zeros({1000}, at::kFloat);
  const at::Tensor b = a.neg().neg();
  EXPECT_EQ(account->current_bytes(), 2 * 4000);
  EXPECT_EQ(account->peak_bytes(), 3 * 4000);
}

TEST(CountingAllocatorTest, AlignsTo64Bytes) {
  for (const int64_t size : {1, 3, 64, 100, 10000}) {
    const at::Tensor tensor = at::empty({size}, at::kByte);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.data_ptr()) % 64, 0u) << size;
  }
}

TEST(CountingAllocatorTest, ReusesTheBlocksOfActivationsAndOfNothingElse) {
  ReleaseCachedBlocks();
  constexpr int64_t kBytes = 3 << 20;
  for (const MemoryPurpose purpose : {MemoryPurpose::kActivations, MemoryPurpose::kWeights}) {
    MemoryAccount* const account = MemoryAccounts::Instance().Get("reuse", "unet", purpose);
    const ScopedMemoryAccount scope(account);
    at::Tensor tensor = at::full({kBytes}, 7, at::kByte);
    tensor.reset();
    EXPECT_EQ(account->current_bytes(), 0) << "what is kept belongs to nobody";
    // A block that was kept has its old bytes; one from the system has zeros.
    const bool is_reused = at::empty({kBytes}, at::kByte)[kBytes / 2].item<uint8_t>() == 7;
    EXPECT_EQ(is_reused, purpose == MemoryPurpose::kActivations);
  }
  ReleaseCachedBlocks();
}

TEST(CountingAllocatorTest, KeepsTheBytesOfAStorageThatGrows) {
  MemoryAccount* const account = Account("resize");
  const ScopedMemoryAccount scope(account);
  at::Tensor tensor = at::arange(4, at::kFloat);
  tensor.resize_({100});
  EXPECT_EQ(account->current_bytes(), 400);
  EXPECT_EQ(tensor.slice(0, 0, 4).sum().item<float>(), 6.0f);
}

TEST(CountingAllocatorTest, AnImpossibleSizeBecomesResourceExhausted) {
  MemoryAccount* const account = Account("impossible");
  const ScopedMemoryAccount scope(account);
  const Status status = RunTorch("allocate", [] {
    at::empty({int64_t{1} << 60}, at::kByte);
    return OkStatus();
  });
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(status.reason(), "OUT_OF_MEMORY");
  EXPECT_EQ(account->current_bytes(), 0);
}

TEST(RunTorchTest, TurnsExceptionsIntoStatusesWithoutTheirTexts) {
  const Status torch_error = RunTorch("multiply", [] {
    at::matmul(at::zeros({2, 3}), at::zeros({2, 3}));
    return OkStatus();
  });
  EXPECT_EQ(torch_error.code(), StatusCode::kInternal);
  EXPECT_EQ(torch_error.message(), "could not multiply");
  EXPECT_NE(torch_error.detail().find("shapes"), std::string::npos) << torch_error.detail();

  const Status standard = RunTorch("go on", []() -> Status { throw std::bad_alloc(); });
  EXPECT_EQ(standard.reason(), "OUT_OF_MEMORY");
  const Status unknown = RunTorch("go on", []() -> Status { throw 7; });
  EXPECT_EQ(unknown.code(), StatusCode::kInternal);
}

TEST(RunTorchTest, RunsInInferenceModeAndReturnsTheBodysStatus) {
  bool inference = false;
  const Status status = RunTorch("look", [&] {
    inference = c10::InferenceMode::is_enabled();
    return InvalidArgument("no");
  });
  EXPECT_TRUE(inference);
  EXPECT_FALSE(c10::InferenceMode::is_enabled());
  EXPECT_EQ(status.message(), "no");
}

}  // namespace
}  // namespace tightfit
