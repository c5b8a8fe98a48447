#include "server/weights/format_budget.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

namespace tightfit {
namespace {

using Random = std::mt19937;

int64_t Draw(Random& random, int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(random);
}

// Whole numbers, so that sums are exact and equal ones meet.
std::vector<BudgetLayer> RandomLayers(Random& random, int layer_count, int most_choices) {
  std::vector<BudgetLayer> layers;
  for (int i = 0; i < layer_count; ++i) {
    BudgetLayer layer{.name = "layer" + std::to_string(i)};
    const int64_t count = Draw(random, 1, most_choices);
    for (int64_t k = 0; k < count; ++k) {
      layer.choices.push_back(
          {.bytes = Draw(random, 1, 40), .error = static_cast<double>(Draw(random, 0, 60))});
    }
    layers.push_back(std::move(layer));
  }
  return layers;
}

// The sums of what a result says it chose.
LayerChoice SumOf(const std::vector<BudgetLayer>& layers, const std::vector<size_t>& choices) {
  LayerChoice sum;
  for (size_t i = 0; i < layers.size(); ++i) {
    sum.bytes += layers[i].choices.at(choices.at(i)).bytes;
    sum.error += layers[i].choices.at(choices.at(i)).error;
  }
  return sum;
}

// The least error that any choice of at most `bytes` has, by trying them all.
double LeastError(const std::vector<BudgetLayer>& layers, int64_t bytes, size_t from = 0) {
  if (bytes < 0) return std::numeric_limits<double>::infinity();
  if (from == layers.size()) return 0.0;
  double least = std::numeric_limits<double>::infinity();
  for (const LayerChoice& choice : layers[from].choices) {
    least = std::min(least, choice.error + LeastError(layers, bytes - choice.bytes, from + 1));
  }
  return least;
}

TEST(FormatBudget, KeepsTheBudgetAndTellsWhatItChose) {
  Random random(1);
  for (int trial = 0; trial < 200; ++trial) {
    const auto layers = RandomLayers(random, 6, 5);
    const FormatBudget budget(layers);
    for (int64_t bytes = budget.least_bytes(); bytes <= budget.most_bytes() + 3; ++bytes) {
      const BudgetResult result = budget.Within(bytes);
      const LayerChoice sum = SumOf(layers, result.choices);
      ASSERT_LE(result.bytes, bytes);
      ASSERT_EQ(result.bytes, sum.bytes);
      ASSERT_EQ(result.error, sum.error);
    }
  }
}

TEST(FormatBudget, NoChoiceOfAsManyBytesHasASmallerError) {
  Random random(2);
  for (int trial = 0; trial < 150; ++trial) {
    const auto layers = RandomLayers(random, 5, 4);
    const FormatBudget budget(layers);
    for (int64_t bytes = budget.least_bytes(); bytes <= budget.most_bytes(); ++bytes) {
      const BudgetResult result = budget.Within(bytes);
      ASSERT_EQ(result.error, LeastError(layers, result.bytes)) << "trial " << trial;
    }
    ASSERT_EQ(budget.Within(budget.most_bytes()).error,
              LeastError(layers, std::numeric_limits<int64_t>::max()));
    // The control: the brute force knows worse choices too.
    if (budget.most_bytes() > budget.least_bytes()) {
      ASSERT_LT(budget.Within(budget.most_bytes()).error, LeastError(layers, budget.least_bytes()));
    }
  }
}

TEST(FormatBudget, LosesLessThanOneStepToTheBestThereIs) {
  Random random(3);
  for (int trial = 0; trial < 100; ++trial) {
    const auto layers = RandomLayers(random, 5, 4);
    int64_t largest_step = 0;
    for (const BudgetLayer& layer : layers) {
      const auto [low, high] = std::ranges::minmax(layer.choices, {}, &LayerChoice::bytes);
      largest_step = std::max(largest_step, high.bytes - low.bytes);
    }
    const FormatBudget budget(layers);
    for (int64_t bytes = budget.least_bytes(); bytes <= budget.most_bytes(); ++bytes) {
      ASSERT_LE(budget.Within(bytes).error, LeastError(layers, bytes - largest_step));
    }
  }
}

TEST(FormatBudget, NothingBelowTheLeastBytesCanBeKept) {
  Random random(4);
  for (int trial = 0; trial < 100; ++trial) {
    const auto layers = RandomLayers(random, 5, 4);
    const FormatBudget budget(layers);
    EXPECT_TRUE(std::isinf(LeastError(layers, budget.least_bytes() - 1)));
    EXPECT_FALSE(std::isinf(LeastError(layers, budget.least_bytes())));
  }
}

TEST(FormatBudget, MoreBytesAreNeverWorseForAnyLayer) {
  Random random(5);
  for (int trial = 0; trial < 20; ++trial) {
    const auto layers = RandomLayers(random, 200, 9);
    const FormatBudget budget(layers);
    BudgetResult before = budget.Within(budget.least_bytes());
    for (int64_t bytes = budget.least_bytes(); bytes <= budget.most_bytes(); bytes += 7) {
      const BudgetResult now = budget.Within(bytes);
      ASSERT_LE(now.error, before.error);
      for (size_t i = 0; i < layers.size(); ++i) {
        const auto& choices = layers[i].choices;
        ASSERT_LE(choices[now.choices[i]].error, choices[before.choices[i]].error);
        ASSERT_GE(choices[now.choices[i]].bytes, choices[before.choices[i]].bytes);
      }
      before = now;
    }
  }
}

TEST(FormatBudget, TheLeastBytesForAnErrorAreThoseOfTheBudgetThatReachesIt) {
  Random random(6);
  for (int trial = 0; trial < 100; ++trial) {
    const auto layers = RandomLayers(random, 8, 5);
    const FormatBudget budget(layers);
    for (double error = 0.0; error < 400.0; error += 7.0) {
      const BudgetResult result = budget.ForError(error);
      ASSERT_EQ(result.choices, budget.Within(result.bytes).choices);
      if (result.error > error) {
        ASSERT_EQ(result.bytes, budget.most_bytes());  // nothing suffices
      } else if (result.bytes > budget.least_bytes()) {
        ASSERT_GT(budget.Within(result.bytes - 1).error, error);
      }
    }
  }
}

TEST(FormatBudget, IsTheSameWhateverTheOrderOfLayers) {
  Random random(7);
  for (int trial = 0; trial < 100; ++trial) {
    auto layers = RandomLayers(random, 20, 4);
    for (BudgetLayer& layer : layers) layer.choices = layers[Draw(random, 0, 3)].choices;  // ties
    auto shuffled = layers;
    std::ranges::shuffle(shuffled, random);
    const FormatBudget budget(layers);
    const FormatBudget other(shuffled);
    for (int64_t bytes = budget.least_bytes(); bytes <= budget.most_bytes(); bytes += 3) {
      const BudgetResult result = budget.Within(bytes);
      const BudgetResult same = other.Within(bytes);
      for (size_t i = 0; i < layers.size(); ++i) {
        const auto at = std::ranges::find(shuffled, layers[i].name, &BudgetLayer::name);
        ASSERT_EQ(result.choices[i], same.choices[at - shuffled.begin()]);
      }
    }
  }
}

TEST(FormatBudget, ErrorsThatAreSavedEntirelyLeaveNone) {
  // 0.1 + 0.2 + 0.3 less each of them is not 0 in doubles.
  std::vector<BudgetLayer> layers;
  for (const double error : {0.1, 0.2, 0.3}) {
    layers.push_back({std::to_string(error), {{1, error}, {2, 0.0}}});
  }
  EXPECT_EQ(FormatBudget(layers).Within(6).error, 0.0);
  EXPECT_EQ(FormatBudget(layers).ForError(0.0).bytes, 6);
}

}  // namespace
}  // namespace tightfit
