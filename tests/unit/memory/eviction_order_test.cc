#include "server/memory/eviction_order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace tightfit {
namespace {

using std::chrono::seconds;
using std::chrono::steady_clock;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

EvictionCandidate Candidate(const std::string& model, int64_t bytes, int used_at,
                            int32_t priority = 0) {
  return {.model = model,
          .bytes = bytes,
          .priority = priority,
          .last_used = steady_clock::time_point(seconds(used_at))};
}

TEST(EvictionOrderTest, TakesTheLeastRecentlyUsedFirst) {
  const std::vector<EvictionCandidate> candidates = {
      Candidate("new", 10, 3), Candidate("old", 10, 1), Candidate("middle", 10, 2)};
  EXPECT_THAT(*ChooseEvictions(candidates, 1), ElementsAre("old"));
  EXPECT_THAT(*ChooseEvictions(candidates, 11), ElementsAre("old", "middle"));
  EXPECT_THAT(*ChooseEvictions(candidates, 30), ElementsAre("old", "middle", "new"));
}

TEST(EvictionOrderTest, PriorityCountsBeforeTheTimeOfUse) {
  EXPECT_THAT(*ChooseEvictions({Candidate("a", 10, 1, 5), Candidate("b", 10, 2, 0)}, 5),
              ElementsAre("b"));
}

TEST(EvictionOrderTest, EvictsNoModelThatCanStay) {
  // The small one goes first, but is not needed once the large one has to go.
  EXPECT_THAT(*ChooseEvictions({Candidate("small", 2, 1), Candidate("large", 20, 2)}, 15),
              ElementsAre("large"));
  EXPECT_THAT(
      *ChooseEvictions({Candidate("a", 5, 1), Candidate("b", 5, 2), Candidate("c", 20, 3)}, 24),
      ElementsAre("a", "c"));
}

TEST(EvictionOrderTest, TellsWhereNothingSufficesAndWhereNothingIsNeeded) {
  EXPECT_FALSE(ChooseEvictions({Candidate("a", 5, 1)}, 6).has_value());
  EXPECT_FALSE(ChooseEvictions({}, 1).has_value());
  EXPECT_THAT(*ChooseEvictions({Candidate("a", 5, 1)}, 0), IsEmpty());
}

TEST(EvictionOrderTest, SufficesAndIsMinimalForRandomCandidates) {
  std::mt19937 random(3);
  for (int round = 0; round < 2000; ++round) {
    std::vector<EvictionCandidate> candidates;
    int64_t total = 0;
    for (int i = 0; i < 6; ++i) {
      candidates.push_back(Candidate(std::string(1, static_cast<char>('a' + i)),
                                     1 + static_cast<int64_t>(random() % 20),
                                     static_cast<int>(random() % 10), random() % 2));
      total += candidates.back().bytes;
    }
    const int64_t needed = 1 + static_cast<int64_t>(random() % 90);
    const auto chosen = ChooseEvictions(candidates, needed);
    ASSERT_EQ(chosen.has_value(), needed <= total);
    if (!chosen.has_value()) continue;
    int64_t freed = 0;
    int64_t smallest = total;
    for (const EvictionCandidate& candidate : candidates) {
      if (std::ranges::find(*chosen, candidate.model) == chosen->end()) continue;
      freed += candidate.bytes;
      smallest = std::min(smallest, candidate.bytes);
    }
    ASSERT_GE(freed, needed);
    ASSERT_LT(freed - smallest, needed) << "one of them could have stayed";
  }
}

}  // namespace
}  // namespace tightfit
