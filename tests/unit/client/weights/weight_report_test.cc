#include "client/weights/weight_report.h"

#include "client/weights/parallel_work.h"
#include "tests/unit/client/weights/sample_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

namespace tightfit::weights::testing {
namespace {

using ::testing::UnorderedElementsAre;

FormatCost Cost(WeightFormat format, double noise_energy, int64_t stored_bytes) {
  FormatCost cost{.format = format, .stored_bytes = stored_bytes};
  cost.distortion.weight_count = 100;
  cost.distortion.signal_energy = 1;
  cost.distortion.noise_energy = noise_energy;
  return cost;
}

FormatCost Refused(WeightFormat format) {
  FormatCost cost = Cost(format, 0, 200);
  cost.representability.out_of_range_count = 1;
  return cost;
}

std::set<std::string> ClassOf(int bits) {
  std::set<std::string> names;
  for (const FormatInfo& info : kFormats) {
    if (IsInClass(info, bits)) names.insert(std::string(info.name));
  }
  return names;
}

TEST(FormatClassTest, HoldsTheFormatsOfSoManyBits) {
  EXPECT_THAT(ClassOf(6), UnorderedElementsAre("e2m3", "e2m3r"));
  EXPECT_THAT(ClassOf(8), UnorderedElementsAre("hf8", "hf8x", "e2m5", "e3m4", "e4m3", "e2m5r",
                                               "e3m4r", "e4m3r", "q8", "fp8-e4m3"));
  EXPECT_THAT(ClassOf(10), UnorderedElementsAre("hf10", "e3m6", "e3m6r"));
  EXPECT_THAT(ClassOf(12), UnorderedElementsAre("hf12", "e3m8", "e3m8r"));
  EXPECT_THAT(ClassOf(5), UnorderedElementsAre("nf5", "nf4.58"));
  EXPECT_THAT(ClassOf(7), UnorderedElementsAre());
}

TEST(BestOfClassTest, IsTheLeastNoiseThenTheFewestBytesAmongThoseThatTakeTheTensor) {
  const TensorCost tensor{.formats = {Refused(WeightFormat::kHf8), Cost(WeightFormat::kE2m5, 2, 90),
                                      Cost(WeightFormat::kE3m4, 1, 100),
                                      Cost(WeightFormat::kE3m4r, 1, 95),
                                      Cost(WeightFormat::kHf12, 0.5, 150)}};
  EXPECT_EQ(BestOfClass(tensor, 8), 3u);
  EXPECT_EQ(BestOfClass(tensor, 12), 4u);
  EXPECT_EQ(BestOfClass(tensor, 10), std::nullopt);
  EXPECT_EQ(BestOfClass(TensorCost{.formats = {Refused(WeightFormat::kHf8)}}, 8), std::nullopt);
}

TEST(BestOfClassTest, OverAllTensorsPrefersWhatTakesThemAll) {
  const std::vector<TensorCost> tensors = {
      {.formats = {Cost(WeightFormat::kHf8, 0.1, 100), Cost(WeightFormat::kE2m5, 2, 100),
                   Cost(WeightFormat::kE3m4, 1, 100)}},
      {.formats = {Refused(WeightFormat::kHf8), Cost(WeightFormat::kE2m5, 2, 100),
                   Cost(WeightFormat::kE3m4, 4, 100)}}};
  EXPECT_EQ(BestOfClass(std::span<const TensorCost>(tensors), 8), 1u);

  const TotalCost hf8 = TotalOfFormat(tensors, 0);
  EXPECT_EQ(hf8.stored_bytes, 300);  // 100 packed, 200 left in fp16
  EXPECT_EQ(hf8.packed_tensor_count, 1);
  EXPECT_EQ(hf8.left_tensor_count, 1);
  EXPECT_EQ(hf8.left_weight_count, 100);
  EXPECT_EQ(hf8.weight_count, 200);
  EXPECT_EQ(hf8.distortion.noise_energy, 0.1);

  // hf8 for the first, e2m5 for the second.
  EXPECT_DOUBLE_EQ(TotalOfBest(tensors, 8).distortion.noise_energy, 2.1);
  EXPECT_EQ(TotalOfBest(tensors, 8).left_tensor_count, 0);
  EXPECT_EQ(TotalOfBest(tensors, 12).weight_count, 0);
}

TEST(BestOfClassTest, LeavesATensorThatEveryFormatRefuses) {
  const std::vector<TensorCost> tensors = {{.formats = {Refused(WeightFormat::kHf8)}},
                                           {.formats = {Cost(WeightFormat::kHf8, 1, 100)}}};
  const TotalCost total = TotalOfBest(tensors, 8);
  EXPECT_EQ(total.left_tensor_count, 1);
  EXPECT_EQ(total.stored_bytes, 300);
}

TEST(MeasureFormatTest, EqualsTheCodecAndDistortionDirectly) {
  LoadedTensor tensor{.rows = 70, .columns = 1000, .fp16 = SampleWeights(70000)};
  for (const FormatInfo& info : kFormats) {
    SCOPED_TRACE(info.name);
    const FormatCost cost = MeasureFormat(info.format, tensor, InThreads(2), {});
    const EncodingPlan plan =
        PlanEncoding(info.format, tensor.rows, tensor.columns, tensor.fp16.data());
    std::vector<uint8_t> packed(static_cast<size_t>(plan.layout.total_bytes));
    EncodeTensor(plan.layout, tensor.fp16.data(), packed.data());
    std::vector<uint16_t> decoded(tensor.fp16.size());
    DecodeToFp16(plan.layout, packed.data(), {0, 70, 0, 1000}, decoded.data());
    const Distortion expected = MeasureDistortion(std::span<const uint16_t>(tensor.fp16),
                                                  std::span<const uint16_t>(decoded));
    EXPECT_TRUE(cost.representability.ok());
    EXPECT_EQ(cost.stored_bytes, plan.layout.total_bytes);
    EXPECT_EQ(cost.side_count, plan.layout.side_count);
    EXPECT_EQ(cost.exponent_bias, plan.layout.exponent_bias);
    EXPECT_EQ(cost.distortion.exact_count, expected.exact_count);
    EXPECT_EQ(cost.distortion.max_error, expected.max_error);
    EXPECT_NEAR(cost.distortion.SqnrDb(), expected.SqnrDb(), 1e-9);
  }
}

TEST(MeasureFormatTest, IsTheSameToTheLastBitWithAnyNumberOfThreads) {
  // Rows longer than a piece, and pieces of several rows.
  for (const auto& [rows, columns] : {std::pair{2, 200001}, {500, 700}}) {
    LoadedTensor tensor{.rows = rows, .columns = columns, .fp16 = SampleWeights(rows * columns)};
    const FormatCost one = MeasureFormat(WeightFormat::kE2m5r, tensor, InThreads(1), {});
    const FormatCost many = MeasureFormat(WeightFormat::kE2m5r, tensor, InThreads(5), {});
    EXPECT_EQ(one.distortion.weight_count, rows * columns);
    EXPECT_EQ(one.distortion.noise_energy, many.distortion.noise_energy);
    EXPECT_EQ(one.distortion.signal_energy, many.distortion.signal_energy);
  }
}

TEST(MeasureFormatTest, LeavesWhatIsRefusedInFp16) {
  LoadedTensor tensor{.rows = 1, .columns = 3, .fp16 = {0x3C00, 0x7C00, 0}};
  const FormatCost cost = MeasureFormat(WeightFormat::kHf8, tensor, InThreads(1), {});
  EXPECT_EQ(cost.representability.infinity_count, 1);
  EXPECT_EQ(cost.representability.out_of_range_count, 1);
  EXPECT_EQ(cost.stored_bytes, 6);
  EXPECT_EQ(cost.distortion.weight_count, 3);
  EXPECT_EQ(cost.distortion.noise_energy, 0);
}

TEST(InterruptibleTest, LeavesOutWhatHasNotBegun) {
  std::stop_source stop;
  int64_t done = 0;
  const ParallelFor parallel_for = Interruptible(InThreads(1), stop.get_token());
  parallel_for(100, 1, [&](int64_t begin, int64_t end) {
    done += end - begin;
    if (done >= 10) stop.request_stop();
  });
  EXPECT_GE(done, 10);
  EXPECT_LE(done, 100);
  done = 0;
  parallel_for(100, 1, [&](int64_t begin, int64_t end) { done += end - begin; });
  EXPECT_EQ(done, 0);
}

TEST(InterruptibleTest, TellsHowFarItIs) {
  std::vector<int64_t> told;
  const ParallelFor parallel_for =
      Interruptible(InThreads(3), {}, [&told](int64_t done, int64_t count) {
        EXPECT_EQ(count, 1000);
        told.push_back(done);
      });
  parallel_for(1000, 10, [](int64_t, int64_t) {});
  ASSERT_FALSE(told.empty());
  EXPECT_TRUE(std::is_sorted(told.begin(), told.end()));
  EXPECT_EQ(told.back(), 1000);
}

}  // namespace
}  // namespace tightfit::weights::testing
