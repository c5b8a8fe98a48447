#include "server/memory/device_ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <thread>

namespace tightfit {
namespace {

constexpr MemoryPurpose kWeights = MemoryPurpose::kWeights;
constexpr MemoryPurpose kActivations = MemoryPurpose::kActivations;
constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

TEST(DeviceLedgerTest, GivesWhatFitsAndRefusesTheRest) {
  DeviceLedger ledger(100);
  auto a = ledger.Reserve("a", kWeights, 60);
  ASSERT_TRUE(a.has_value());
  EXPECT_EQ(ledger.free_bytes(), 40);
  EXPECT_FALSE(ledger.Reserve("b", kWeights, 41).has_value());
  EXPECT_FALSE(ledger.Reserve("b", kWeights, kMax).has_value());
  EXPECT_FALSE(ledger.Reserve("b", kWeights, -1).has_value());
  EXPECT_TRUE(ledger.Reserve("b", kWeights, 0).has_value());
  const auto b = ledger.Reserve("b", kActivations, 40);
  ASSERT_TRUE(b.has_value());
  EXPECT_EQ(ledger.free_bytes(), 0);
}

TEST(DeviceLedgerTest, AReservationGivesItsBytesBackOnce) {
  DeviceLedger ledger(100);
  {
    auto first = ledger.Reserve("a", kWeights, 60);
    MemoryReservation moved = std::move(*first);
    first->Release();
    EXPECT_EQ(ledger.reserved_bytes(), 60);
    MemoryReservation other;
    other = std::move(moved);
    moved.Release();  // NOLINT(bugprone-use-after-move): that is the promise
    EXPECT_EQ(ledger.reserved_bytes(), 60);
    other = MemoryReservation();
    EXPECT_EQ(ledger.reserved_bytes(), 0);
    other.Release();
    EXPECT_EQ(ledger.reserved_bytes(), 0);
  }
  EXPECT_EQ(ledger.reserved_bytes(), 0);
  EXPECT_TRUE(ledger.Snapshot().empty());
}

TEST(DeviceLedgerTest, ResizesWithinTheLimitOrNotAtAll) {
  DeviceLedger ledger(100);
  auto a = ledger.Reserve("a", kWeights, 60);
  EXPECT_TRUE(a->Resize(10));
  EXPECT_EQ(ledger.free_bytes(), 90);
  EXPECT_TRUE(a->Resize(100));
  EXPECT_FALSE(a->Resize(101));
  EXPECT_FALSE(a->Resize(-1));
  EXPECT_EQ(a->bytes(), 100);
  EXPECT_FALSE(MemoryReservation().Resize(1));
}

TEST(DeviceLedgerTest, TellsWhoHoldsWhatForWhat) {
  DeviceLedger ledger(100);
  const auto a = ledger.Reserve("a", kWeights, 30);
  const auto b = ledger.Reserve("b", kActivations, 5);
  const auto again = ledger.Reserve("a", kWeights, 3);
  const std::vector<LedgerUse> uses = ledger.Snapshot();
  ASSERT_EQ(uses.size(), 2u);
  EXPECT_EQ(uses[0].owner, "a");
  EXPECT_EQ(uses[0].bytes, 33);
  EXPECT_EQ(uses[1].owner, "b");
  EXPECT_EQ(uses[1].purpose, kActivations);
}

// Against a model that adds everything up anew after each operation.
TEST(DeviceLedgerTest, KeepsItsInvariantsOverAMillionOperations) {
  constexpr int64_t kLimit = 1000;
  DeviceLedger ledger(kLimit);
  std::mt19937_64 random(7);
  const auto draw = [&random](int64_t below) {
    return static_cast<int64_t>(random() % static_cast<uint64_t>(below));
  };
  std::vector<MemoryReservation> held;
  int64_t expected = 0;
  int64_t refusals = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    const int64_t kind = draw(4);
    const int64_t bytes = draw(400);
    if (kind == 0 || held.empty()) {
      auto taken = ledger.Reserve(std::string(1, static_cast<char>('a' + draw(3))),
                                  draw(2) == 0 ? kWeights : kActivations, bytes);
      ASSERT_EQ(taken.has_value(), expected + bytes <= kLimit) << i;
      refusals += taken.has_value() ? 0 : 1;
      if (taken.has_value()) {
        expected += bytes;
        held.push_back(std::move(*taken));
      }
    } else {
      const auto at = static_cast<size_t>(draw(static_cast<int64_t>(held.size())));
      const int64_t before = held[at].bytes();
      if (kind == 1) {
        const bool resized = held[at].Resize(bytes);
        ASSERT_EQ(resized, expected - before + bytes <= kLimit) << i;
        if (resized) expected += bytes - before;
      } else if (kind == 2) {
        std::swap(held[at], held.back());
        held.pop_back();
        expected -= before;
      } else {  // moving changes nothing
        std::swap(held[at], held.front());
      }
    }
    ASSERT_EQ(ledger.reserved_bytes(), expected) << i;
    ASSERT_LE(ledger.reserved_bytes(), kLimit);
    if (i % 1000 != 0) continue;
    int64_t sum = 0;
    for (const LedgerUse& use : ledger.Snapshot()) {
      ASSERT_GT(use.bytes, 0);
      sum += use.bytes;
    }
    ASSERT_EQ(sum, expected);
  }
  EXPECT_GT(refusals, 1000);
  held.clear();
  EXPECT_EQ(ledger.reserved_bytes(), 0);
}

TEST(DeviceLedgerTest, EndsAtZeroAfterManyThreads) {
  constexpr int64_t kLimit = 100;
  DeviceLedger ledger(kLimit);
  std::atomic<bool> passed_limit{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20'000; ++i) {
        auto taken = ledger.Reserve(std::to_string(t), kWeights, (i * 7 + t) % 60);
        if (taken.has_value()) taken->Resize(i % 50);
        if (ledger.reserved_bytes() > kLimit) passed_limit = true;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(passed_limit);
  EXPECT_EQ(ledger.reserved_bytes(), 0);
}

}  // namespace
}  // namespace tightfit
