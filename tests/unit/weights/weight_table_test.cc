#include "server/weights/weight_table.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

StoredTensor Stored(std::string name, std::vector<int64_t> shape,
                    StoredDtype dtype = StoredDtype::kF16) {
  StoredTensor tensor{.name = std::move(name), .dtype = dtype, .shape = std::move(shape)};
  tensor.element_count = 1;
  for (const int64_t dimension : tensor.shape) tensor.element_count *= dimension;
  tensor.size_bytes = tensor.element_count * BytesOf(dtype);
  return tensor;
}

const ComponentPacking kHf8Packing{WeightFormat::kHf8, {}};

TEST(WeightTableTest, NamesAndShapesTellTheLayersThatNobodyRecorded) {
  EXPECT_EQ(KindOf(Stored("a.to_q.weight", {4, 4}), {}), LayerKind::kLinear);
  EXPECT_EQ(KindOf(Stored("a.conv.weight", {4, 4, 3, 3}), {}), LayerKind::kConv2d);
  EXPECT_EQ(KindOf(Stored("a.to_q.bias", {4}), {}), LayerKind::kOther);
  EXPECT_EQ(KindOf(Stored("norm.weight", {4}), {}), LayerKind::kOther);
  EXPECT_EQ(KindOf(Stored("embeddings.token_embedding.weight", {4, 4}), {}), LayerKind::kOther)
      << "rows are looked up, not multiplied";
  EXPECT_EQ(KindOf(Stored("time_embedding.linear_1.weight", {4, 4}), {}), LayerKind::kLinear);
}

TEST(WeightTableTest, WhatTheExporterRecordedGoesBeforeNamesAndShapes) {
  const LayerKinds layers = {{"a", LayerKind::kLinear}, {"b", LayerKind::kConv2d}};
  EXPECT_EQ(KindOf(Stored("a.weight", {4, 4, 1, 1}), layers), LayerKind::kLinear);
  EXPECT_EQ(KindOf(Stored("b.weight", {4, 4, 1, 1}), layers), LayerKind::kConv2d);
  EXPECT_EQ(KindOf(Stored("c.weight", {4, 4}), layers), LayerKind::kOther);
  EXPECT_EQ(KindOf(Stored("a.bias", {4}), layers), LayerKind::kOther);
}

TEST(WeightTableTest, PacksWhatTheScopeTakesAndSaysWhyNotTheRest) {
  const WeightTable table(
      {Stored("a.weight", {4, 4}), Stored("a.bias", {4}), Stored("b.weight", {4, 4}),
       Stored("c.weight", {4, 4}, StoredDtype::kF32),
       Stored("d.weight", {4, 4}, StoredDtype::kBF16)},
      {}, {WeightFormat::kHf8, {.name = "linear", .exclude = {"b"}}});
  const auto& entries = table.entries();
  ASSERT_EQ(entries.size(), 5u);
  EXPECT_EQ(entries[0].format, WeightFormat::kHf8);
  EXPECT_FALSE(entries[1].format.has_value());
  EXPECT_EQ(entries[1].why_dense, "") << "biases are in no scope";
  EXPECT_EQ(entries[2].why_dense, "excluded by the configuration");
  EXPECT_EQ(entries[3].why_dense, "stored as fp32: out of fp16's range");
  EXPECT_EQ(entries[4].format, WeightFormat::kHf8) << "bf16 is packed too";
}

TEST(WeightTableTest, EstimatesPackedBytesAndTheBuffersOfALoad) {
  const std::vector<StoredTensor> tensors = {Stored("conv.weight", {16, 8, 3, 3}),
                                             Stored("linear.weight", {32, 16}),
                                             Stored("linear.bias", {32})};
  const WeightEstimate packed = WeightTable(tensors, {}, kHf8Packing).Estimate(4, 1);
  // 16 rows of 72 codes, padded to 80; 32 rows of 16; a bias in fp32.
  EXPECT_EQ(packed.weight_bytes, 16 * 80 + 32 * 16 + 32 * 4);
  EXPECT_EQ(packed.decoded_bytes, 16 * 72 * 4);
  EXPECT_EQ(packed.staging_bytes, 2 * 16 * 72 * 2);
  const WeightEstimate dense = WeightTable(tensors, {}, {}).Estimate(4, 1);
  EXPECT_EQ(dense.weight_bytes, 4 * (16 * 72 + 32 * 16 + 32));
  EXPECT_EQ(dense.decoded_bytes, 0);
  EXPECT_EQ(dense.staging_bytes, 16 * 72 * 2);
  EXPECT_EQ(WeightTable(tensors, {}, {}).Estimate(4, 512).weight_bytes % 512, 0);
}

TEST(WeightTableTest, WeightsInBf16NeedABufferToBecomeFp16) {
  const std::vector<StoredTensor> tensors = {Stored("linear.weight", {32, 16}, StoredDtype::kBF16)};
  EXPECT_EQ(WeightTable(tensors, {}, kHf8Packing).Estimate(4, 1).staging_bytes, 2 * 32 * 16 * 2);
}

}  // namespace
}  // namespace tightfit
