#include "server/memory/memory_accounts.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace tightfit {
namespace {

// The process has one table: every test uses models of its own name.

TEST(MemoryAccountTest, PeakFollowsTheLargestSumAndNotTheLargestCharge) {
  MemoryAccount* const account =
      MemoryAccounts::Instance().Get("peak", "unet", MemoryPurpose::kWeights);
  account->Charge(100);
  account->Charge(50);
  account->Credit(100);
  account->Charge(70);
  EXPECT_EQ(account->current_bytes(), 120);
  EXPECT_EQ(account->peak_bytes(), 150);
}

TEST(MemoryAccountTest, ResetPeakRestartsFromWhatIsHeld) {
  MemoryAccount* const account =
      MemoryAccounts::Instance().Get("reset", "unet", MemoryPurpose::kWeights);
  account->Charge(100);
  account->Credit(60);
  account->ResetPeak();
  EXPECT_EQ(account->peak_bytes(), 40);
  account->Charge(1);
  EXPECT_EQ(account->peak_bytes(), 41);
}

TEST(MemoryAccountsTest, GivesOneAccountForOneName) {
  MemoryAccounts& accounts = MemoryAccounts::Instance();
  MemoryAccount* const account = accounts.Get("one", "unet", MemoryPurpose::kWeights);
  EXPECT_EQ(account, accounts.Get("one", "unet", MemoryPurpose::kWeights));
  EXPECT_NE(account, accounts.Get("one", "unet", MemoryPurpose::kScratch));
  EXPECT_NE(account, accounts.Get("one", "vae", MemoryPurpose::kWeights));
  EXPECT_NE(account, accounts.Get("two", "unet", MemoryPurpose::kWeights));
}

TEST(MemoryAccountsTest, SnapshotHoldsTheAccountsOfOneModelInOrder) {
  MemoryAccounts& accounts = MemoryAccounts::Instance();
  accounts.Get("snapshot", "vae", MemoryPurpose::kWeights)->Charge(1);
  accounts.Get("snapshot", "unet", MemoryPurpose::kScratch)->Charge(2);
  accounts.Get("snapshot", "unet", MemoryPurpose::kWeights)->Charge(3);
  accounts.Get("another", "unet", MemoryPurpose::kWeights)->Charge(4);

  const std::vector<MemoryUse> uses = accounts.Snapshot("snapshot");

  ASSERT_EQ(uses.size(), 3u);
  EXPECT_EQ(uses[0].component, "unet");
  EXPECT_EQ(uses[0].purpose, MemoryPurpose::kWeights);
  EXPECT_EQ(uses[0].current_bytes, 3);
  EXPECT_EQ(uses[1].component, "unet");
  EXPECT_EQ(uses[1].purpose, MemoryPurpose::kScratch);
  EXPECT_EQ(uses[2].component, "vae");
  EXPECT_TRUE(accounts.Snapshot("no such model").empty());
}

TEST(MemoryAccountsTest, TotalIsTheSumOverAllAccounts) {
  MemoryAccounts& accounts = MemoryAccounts::Instance();
  const int64_t before = accounts.total_bytes();
  MemoryAccount* const a = accounts.Get("total", "unet", MemoryPurpose::kWeights);
  MemoryAccount* const b = accounts.Get("total", "vae", MemoryPurpose::kActivations);
  accounts.ResetTotalPeak();
  a->Charge(10);
  b->Charge(20);
  accounts.unowned()->Charge(5);
  EXPECT_EQ(accounts.total_bytes() - before, 35);
  a->Credit(10);
  accounts.unowned()->Credit(5);
  EXPECT_EQ(accounts.total_bytes() - before, 20);
  EXPECT_EQ(accounts.total_peak_bytes() - before, 35);
}

TEST(MemoryAccountsTest, LosesNoByteWhenThreadsChargeAtOnce) {
  MemoryAccount* const account =
      MemoryAccounts::Instance().Get("threads", "unet", MemoryPurpose::kActivations);
  constexpr int kThreads = 4;
  constexpr int kRounds = 20000;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([account] {
      for (int round = 0; round < kRounds; ++round) {
        account->Charge(3);
        account->Credit(2);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(account->current_bytes(), kThreads * kRounds);
  EXPECT_GE(account->peak_bytes(), account->current_bytes());
}

TEST(ScopedMemoryAccountTest, NestsAndRestores) {
  MemoryAccounts& accounts = MemoryAccounts::Instance();
  MemoryAccount* const outer = accounts.Get("nest", "unet", MemoryPurpose::kWeights);
  MemoryAccount* const inner = accounts.Get("nest", "unet", MemoryPurpose::kScratch);
  EXPECT_EQ(ScopedMemoryAccount::Current(), accounts.unowned());
  {
    const ScopedMemoryAccount outer_scope(outer);
    EXPECT_EQ(ScopedMemoryAccount::Current(), outer);
    {
      const ScopedMemoryAccount inner_scope(inner);
      EXPECT_EQ(ScopedMemoryAccount::Current(), inner);
    }
    EXPECT_EQ(ScopedMemoryAccount::Current(), outer);
  }
  EXPECT_EQ(ScopedMemoryAccount::Current(), accounts.unowned());
}

TEST(ScopedMemoryAccountTest, HoldsForItsThreadOnly) {
  MemoryAccounts& accounts = MemoryAccounts::Instance();
  const ScopedMemoryAccount scope(accounts.Get("thread", "unet", MemoryPurpose::kWeights));
  MemoryAccount* seen = nullptr;
  std::thread([&seen] { seen = ScopedMemoryAccount::Current(); }).join();
  EXPECT_EQ(seen, accounts.unowned());
}

TEST(MemoryPurposeNameTest, NamesEachPurpose) {
  EXPECT_EQ(MemoryPurposeName(MemoryPurpose::kWeights), "weights");
  EXPECT_EQ(MemoryPurposeName(MemoryPurpose::kActivations), "activations");
  EXPECT_EQ(MemoryPurposeName(MemoryPurpose::kScratch), "scratch");
}

TEST(MemoryAccountsTest, WhatIsHandedOverChangesItsAccountAndNoSum) {
  MemoryAccounts& accounts = MemoryAccounts::Instance();
  MemoryAccount* const weights = accounts.Get("handed", "unet", MemoryPurpose::kWeights);
  MemoryAccount* const cache = accounts.Get("handed", "unet", MemoryPurpose::kHostCache);
  weights->Charge(100);
  const int64_t total_bytes = accounts.total_bytes();
  weights->HandOver(60, cache);
  EXPECT_EQ(weights->current_bytes(), 40);
  EXPECT_EQ(cache->current_bytes(), 60);
  EXPECT_EQ(cache->peak_bytes(), 60);
  EXPECT_EQ(accounts.TotalOf(MemoryPurpose::kHostCache), 60);
  EXPECT_EQ(accounts.total_bytes(), total_bytes);
  cache->HandOver(60, weights);
  EXPECT_EQ(accounts.TotalOf(MemoryPurpose::kHostCache), 0);
  weights->Credit(100);
}

}  // namespace
}  // namespace tightfit
