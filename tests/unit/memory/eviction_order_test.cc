#include "server/memory/eviction_order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

namespace tightfit {
namespace {

using std::chrono::seconds;
using std::chrono::steady_clock;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct Model {
  std::string name;
  int64_t bytes;
  int used_at;
  int32_t priority = 0;
};

// With models that share nothing.
std::optional<std::vector<std::string>> Choose(const std::vector<Model>& models, int64_t needed) {
  std::vector<EvictionCandidate> candidates;
  std::map<std::string, int64_t> bytes;
  for (const Model& model : models) {
    candidates.push_back({.model = model.name,
                          .priority = model.priority,
                          .last_used = steady_clock::time_point(seconds(model.used_at))});
    bytes[model.name] = model.bytes;
  }
  return ChooseEvictions(std::move(candidates), [&](const std::vector<std::string>& evicted) {
    int64_t freed = 0;
    for (const std::string& model : evicted) freed += bytes.at(model);
    return freed >= needed;
  });
}

TEST(EvictionOrderTest, TakesTheLeastRecentlyUsedFirst) {
  const std::vector<Model> models = {{"new", 10, 3}, {"old", 10, 1}, {"middle", 10, 2}};
  EXPECT_THAT(*Choose(models, 1), ElementsAre("old"));
  EXPECT_THAT(*Choose(models, 11), ElementsAre("old", "middle"));
  EXPECT_THAT(*Choose(models, 30), ElementsAre("old", "middle", "new"));
}

TEST(EvictionOrderTest, PriorityCountsBeforeTheTimeOfUse) {
  EXPECT_THAT(*Choose({{"a", 10, 1, 5}, {"b", 10, 2, 0}}, 5), ElementsAre("b"));
}

TEST(EvictionOrderTest, EvictsNoModelThatCanStay) {
  // The small one goes first, but is not needed once the large one has to go.
  EXPECT_THAT(*Choose({{"small", 2, 1}, {"large", 20, 2}}, 15), ElementsAre("large"));
  EXPECT_THAT(*Choose({{"a", 5, 1}, {"b", 5, 2}, {"c", 20, 3}}, 24), ElementsAre("a", "c"));
}

TEST(EvictionOrderTest, TellsWhereNothingSufficesAndWhereNothingIsNeeded) {
  EXPECT_FALSE(Choose({{"a", 5, 1}}, 6).has_value());
  EXPECT_FALSE(Choose({}, 1).has_value());
  EXPECT_THAT(*Choose({{"a", 5, 1}}, 0), IsEmpty());
}

TEST(EvictionOrderTest, SufficesAndIsMinimalForRandomCandidates) {
  std::mt19937 random(3);
  for (int round = 0; round < 2000; ++round) {
    std::vector<Model> models;
    int64_t total = 0;
    for (int i = 0; i < 6; ++i) {
      models.push_back({std::string(1, static_cast<char>('a' + i)),
                        1 + static_cast<int64_t>(random() % 20), static_cast<int>(random() % 10),
                        static_cast<int32_t>(random() % 2)});
      total += models.back().bytes;
    }
    const int64_t needed = 1 + static_cast<int64_t>(random() % 90);
    const auto chosen = Choose(models, needed);
    ASSERT_EQ(chosen.has_value(), needed <= total);
    if (!chosen.has_value()) continue;
    int64_t freed = 0;
    int64_t smallest = total;
    for (const Model& model : models) {
      if (std::ranges::find(*chosen, model.name) == chosen->end()) continue;
      freed += model.bytes;
      smallest = std::min(smallest, model.bytes);
    }
    ASSERT_GE(freed, needed);
    ASSERT_LT(freed - smallest, needed) << "one of them could have stayed";
  }
}

}  // namespace
}  // namespace tightfit
