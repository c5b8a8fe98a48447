#include "server/weights/weight_budget.h"

#include "kernels/packed_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

StoredTensor TensorOf(std::string name, std::vector<int64_t> shape,
                      StoredDtype dtype = StoredDtype::kF16) {
  StoredTensor tensor{.name = std::move(name), .dtype = dtype, .shape = std::move(shape)};
  tensor.element_count = 1;
  for (const int64_t dimension : tensor.shape) tensor.element_count *= dimension;
  tensor.size_bytes = tensor.element_count * BytesOf(dtype);
  return tensor;
}

// Two layers of 64 x 64 that are measured, of which the first counts a hundred times as much; and
// what has no choice: a bias, a layer that nobody measured, one that is stored as fp32.
const std::vector<StoredTensor>& BudgetTensors() {
  static const auto* const tensors = new std::vector<StoredTensor>{
      TensorOf("loud.weight", {64, 64}), TensorOf("quiet.weight", {64, 64}),
      TensorOf("quiet.bias", {64}), TensorOf("unknown.weight", {64, 64}),
      TensorOf("wide.weight", {64, 64}, StoredDtype::kF32)};
  return *tensors;
}

constexpr int64_t kWithoutChoice = 64 + 2 * 64 * 64;

Sensitivity Measured() {
  Sensitivity sensitivity;
  sensitivity.formats = {WeightFormat::kE2m5r, WeightFormat::kNf4};
  sensitivity.layers = {{"loud", {1e-2, 1.0}}, {"quiet", {1e-4, 1e-2}}, {"wide", {1.0, 1.0}}};
  return sensitivity;
}

int64_t BytesOf(WeightFormat format) { return LayoutOf(format, 64, 64).total_bytes; }

WeightBudget Budget(const WeightUnits& units = {}, const PackingScope& scope = {}) {
  return {WeightTable(BudgetTensors(), {}, {}), Measured(), scope, units};
}

TEST(WeightBudgetTest, CountsEveryTensorOfTheComponent) {
  const int64_t dense_bytes = 2 * kWithoutChoice;
  EXPECT_EQ(Budget().least_bytes(), dense_bytes + 2 * BytesOf(WeightFormat::kNf4));
  EXPECT_EQ(Budget().most_bytes(), dense_bytes + 2 * 2 * 64 * 64);
  EXPECT_EQ(Budget({.dense_weight_bytes = 4}).most_bytes(), 2 * (dense_bytes + 2 * 2 * 64 * 64));
}

TEST(WeightBudgetTest, CountsWhatTheTableEstimatesOfTheSameFormats) {
  for (const int64_t block_bytes : {1, 512}) {
    for (const int64_t dense_weight_bytes : {2, 4}) {
      const WeightBudget budget = Budget({dense_weight_bytes, block_bytes});
      for (int64_t bytes = budget.least_bytes(); bytes < budget.most_bytes(); bytes += 999) {
        const WeightBudget::Plan plan = budget.Within(bytes);
        const WeightTable table(BudgetTensors(), {}, {std::nullopt, {}, plan.formats});
        ASSERT_EQ(table.Estimate(dense_weight_bytes, block_bytes).weight_bytes, plan.bytes);
        ASSERT_LE(plan.bytes, bytes);
      }
    }
  }
}

TEST(WeightBudgetTest, BytesGoToTheLayerThatCounts) {
  const WeightBudget budget = Budget();
  const int64_t more = BytesOf(WeightFormat::kE2m5r) - BytesOf(WeightFormat::kNf4);
  const auto plan = budget.Within(budget.least_bytes() + more);
  EXPECT_EQ(plan.formats.at("loud"), WeightFormat::kE2m5r);
  EXPECT_EQ(plan.formats.at("quiet"), WeightFormat::kNf4);
  EXPECT_DOUBLE_EQ(plan.error, 2e-2);
  EXPECT_EQ(budget.ForError(2e-2).bytes, plan.bytes);
}

TEST(WeightBudgetTest, NothingIsChosenForWhatMustStayDense) {
  const auto plan = Budget({}, {.name = "linear+conv", .exclude = {"quiet"}}).Within(1 << 30);
  EXPECT_EQ(plan.formats.size(), 1u);
  EXPECT_EQ(plan.formats.at("loud"), std::nullopt) << "there are bytes enough";
}

TEST(WeightBudgetTest, AFormatThatCannotHoldALayerIsNotChosen) {
  Sensitivity sensitivity = Measured();
  sensitivity.layers["loud"][1] = std::nullopt;
  const WeightBudget budget(WeightTable(BudgetTensors(), {}, {}), sensitivity, {}, {});
  EXPECT_EQ(budget.Within(budget.least_bytes()).formats.at("loud"), WeightFormat::kE2m5r);
}

TEST(WeightBudgetTest, TooLittleIsToldWithWhatSuffices) {
  const Status status = BudgetTooSmall("budget_mib", 1.5, (20 << 20) + 1);
  EXPECT_EQ(status.message(),
            "budget_mib: 1.5 MiB are too few for this model's weights; the least is 20.0001");
}

TEST(WeightTableTest, ModulesOfTheirOwnFormatsAreHeldInThem) {
  const WeightTable table(BudgetTensors(), {},
                          {std::nullopt,
                           {.name = "linear+conv", .exclude = {"unknown"}},
                           {{"loud", WeightFormat::kNf4},
                            {"quiet", std::nullopt},
                            {"unknown", WeightFormat::kNf4},
                            {"wide", WeightFormat::kNf4}}});
  EXPECT_EQ(table.entries()[0].format, WeightFormat::kNf4);
  EXPECT_EQ(table.entries()[1].format, std::nullopt);
  EXPECT_EQ(table.entries()[1].why_dense, "") << "it was chosen so";
  EXPECT_EQ(table.entries()[2].format, std::nullopt) << "a bias";
  EXPECT_EQ(table.entries()[3].why_dense, "excluded by the configuration");
  EXPECT_EQ(table.entries()[4].why_dense, "stored as fp32: out of fp16's range");
}

}  // namespace
}  // namespace tightfit
