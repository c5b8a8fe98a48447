// Every format on every instruction set against the reference, byte for byte.
#include "kernels/codec.h"
#include "kernels/codec_reference.h"
#include "tests/unit/kernels/hard_weights.h"
#include "tests/unit/kernels/packed_tensor_probe.h"
#include "tests/unit/kernels/weight_samples.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

namespace tightfit {
namespace {

class CodecFormatsTest : public CodecTest {};
class CodecTensorScaleTest : public CodecTest {};
class CodecRowScaleTest : public CodecTest {};

struct PackedSample {
  PackedSample(WeightFormat format, int64_t rows, int64_t columns, WeightSample sample,
               uint32_t seed)
      : fp16(SampleWeights(sample, rows, columns, seed)),
        plan(PlanEncoding(format, rows, columns, fp16.data())) {
    if (plan.representability.ok()) packed = Pack(plan.layout, fp16);
  }

  std::vector<uint16_t> fp16;
  EncodingPlan plan;
  std::vector<uint8_t> packed;
};

TEST_P(CodecFormatsTest, PlansAndEncodesWhatTheReferenceDoes) {
  int64_t encoded_count = 0;
  for (const WeightSample sample : kWeightSamples) {
    for (const int64_t columns : {0, 1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 129, 300}) {
      SCOPED_TRACE(testing::Message() << SampleName(sample) << ", " << columns << " columns");
      const auto seed = static_cast<uint32_t>(columns);
      const PackedSample encoded(format(), 3, columns, sample, seed);
      const EncodingPlan plan = reference::PlanEncoding(format(), 3, columns, encoded.fp16);
      ASSERT_EQ(encoded.plan.representability.nan_count, plan.representability.nan_count);
      ASSERT_EQ(encoded.plan.representability.infinity_count, plan.representability.infinity_count);
      ASSERT_EQ(encoded.plan.representability.out_of_range_count,
                plan.representability.out_of_range_count);
      ASSERT_EQ(encoded.plan.layout.exponent_bias, plan.layout.exponent_bias);
      ASSERT_EQ(encoded.plan.layout.side_count, plan.layout.side_count);
      if (!plan.representability.ok()) continue;
      ASSERT_EQ(encoded.packed, reference::EncodeTensor(plan.layout, encoded.fp16));
      ++encoded_count;
    }
  }
  EXPECT_GT(encoded_count, 50);
}

// A tensor of more than one superblock, and a row of more than one piece of the scale search.
TEST_P(CodecFormatsTest, EncodesLongRowsAsTheReference) {
  const PackedSample encoded(format(), 2, 98304 + 77, WeightSample::kTrained, 1);
  ASSERT_TRUE(encoded.plan.representability.ok());
  EXPECT_EQ(encoded.packed, reference::EncodeTensor(encoded.plan.layout, encoded.fp16));
}

// Rows around the shortest whose candidates are bounded before they are measured, and one of a
// usual length. Rows that the format holds exactly have an error of 0 at one candidate, and a small
// weight's error at others; weights between two of its numbers have the largest errors.
TEST_P(CodecRowScaleTest, ChoosesTheScalesThatTheReferenceDoes) {
  constexpr int64_t kRows = 3;
  const auto expect_equal = [&](const std::vector<uint16_t>& fp16, int64_t columns) {
    const PackedLayout layout = LayoutOf(format(), kRows, columns);
    const std::vector<uint8_t> packed = Pack(layout, fp16);
    EXPECT_EQ(packed, reference::EncodeTensor(layout, fp16));
    return reference::DecodeTensor(layout, packed);
  };
  int checked_count = 0;
  for (const WeightSample sample : kWeightSamples) {
    for (const int64_t columns : {191, 192, 205, 1280}) {
      SCOPED_TRACE(testing::Message() << SampleName(sample) << ", " << columns << " columns");
      const std::vector<uint16_t> fp16 =
          SampleWeights(sample, kRows, columns, static_cast<uint32_t>(columns));
      if (!PlanEncoding(format(), kRows, columns, fp16.data()).representability.ok()) continue;
      std::vector<uint16_t> held = expect_equal(fp16, columns);
      expect_equal(held, columns);
      for (size_t i = 0; i + 1 < held.size(); i += 2) {
        const double between =
            (reference::ValueOfFp16(held[i]) + reference::ValueOfFp16(held[i + 1])) / 2;
        held[i] = reference::Fp16OfValue(between);
      }
      expect_equal(held, columns);
      ++checked_count;
    }
  }
  EXPECT_EQ(checked_count, 6 * 4);  // not the large and the infinite ones
}

// The weights of hard_weights.h, in every format.
TEST_P(CodecFormatsTest, RoundsEachStepAsTheReference) {
  const auto expect_equal = [&](std::vector<uint16_t> fp16) {
    const auto columns = static_cast<int64_t>(fp16.size());
    const EncodingPlan plan = PlanEncoding(format(), 1, columns, fp16.data());
    ASSERT_TRUE(plan.representability.ok());
    EXPECT_EQ(Pack(plan.layout, fp16), reference::EncodeTensor(plan.layout, fp16));
  };
  expect_equal({kRowOfCloseScales.begin(), kRowOfCloseScales.end()});
  expect_equal({kRowOfATieOfQ8.begin(), kRowOfATieOfQ8.end()});
  for (const WeightAtThreshold& hard : kWeightsAtThresholds) {
    std::vector<uint16_t> fp16(2 * kNormalBlockWeights);
    fp16.front() = hard.superblock_largest;
    // The block's largest magnitude is what gives its scale code: near code / 255 of the whole.
    const double share = reference::ValueOfFp16(hard.superblock_largest) * hard.scale_code / 255;
    fp16[kNormalBlockWeights] = reference::Fp16OfValue(share);
    fp16[kNormalBlockWeights + 1] = hard.weight;
    expect_equal(fp16);
  }
}

// Codes of all kinds: random bytes. Scales are finite numbers that do not overflow.
std::vector<uint8_t> RandomCodes(const PackedLayout& layout) {
  std::vector<uint8_t> packed(layout.total_bytes);
  FillWithRandomBytes(packed, 9);
  const std::vector<uint16_t> scales =
      SampleWeights(WeightSample::kTrained, 1, layout.total_bytes / 2, 3);
  const Scaling scaling = InfoOf(layout.format).scaling;
  if (scaling == Scaling::kRow || scaling == Scaling::kBlock32) {
    std::memcpy(packed.data() + layout.scale_offset_bytes, scales.data(),
                layout.total_bytes - layout.scale_offset_bytes);
  } else if (scaling == Scaling::kBlock64) {
    for (int64_t at = layout.scale_offset_bytes; at < layout.block_scale_offset_bytes; at += 4) {
      const auto scale = static_cast<float>(reference::ValueOfFp16(scales[at / 4]));
      std::memcpy(packed.data() + at, &scale, sizeof(scale));
    }
  }
  return packed;
}

// Decodes a range in every type, to memory that begins in the middle of a vector. `values`: fp16 of
// the whole tensor.
void ExpectRange(const PackedLayout& layout, const std::vector<uint8_t>& packed,
                 const std::vector<uint16_t>& values, DecodeRange range) {
  SCOPED_TRACE(testing::Message() << "columns " << range.first_column << " + "
                                  << range.column_count);
  const int64_t count = range.row_count * range.column_count;
  Guarded<uint16_t> fp16(count, range.first_column % 5);
  Guarded<uint16_t> bf16(count, range.first_column % 3);
  Guarded<float> fp32(count, range.first_column % 7);
  DecodeToFp16(layout, packed.data(), range, fp16.begin());
  DecodeToBf16(layout, packed.data(), range, bf16.begin());
  DecodeToFp32(layout, packed.data(), range, fp32.begin());
  for (int64_t i = 0; i < count; ++i) {
    const uint16_t wanted = values[(range.first_row + i / range.column_count) * layout.columns +
                                   range.first_column + i % range.column_count];
    if ((wanted & 0x7FFF) > 0x7C00) {  // of fp8 and bf16; which NaN is no one's promise
      ASSERT_GT(fp16[i] & 0x7FFF, 0x7C00) << i;
      continue;
    }
    ASSERT_EQ(fp16[i], wanted) << i;
    if ((wanted & 0x7FFF) == 0x7C00) continue;  // bf16 beyond fp16
    ASSERT_EQ(bf16[i], reference::Bf16OfFp16(wanted)) << i;
    const auto value = static_cast<float>(reference::ValueOfFp16(wanted));
    ASSERT_EQ(std::bit_cast<uint32_t>(fp32[i]), std::bit_cast<uint32_t>(value)) << i;
  }
  ASSERT_TRUE(fp16.GuardsIntact());
  ASSERT_TRUE(bf16.GuardsIntact());
  ASSERT_TRUE(fp32.GuardsIntact());
}

TEST_P(CodecFormatsTest, DecodesEveryKindOfCodeAsTheReference) {
  for (const int64_t columns : {1, 7, 48, 64, 100, 2051}) {
    SCOPED_TRACE(testing::Message() << columns << " columns");
    const int bias = info().scaling == Scaling::kTensor ? 11 : 0;
    const PackedLayout layout = LayoutOf(format(), 5, columns, bias);
    const std::vector<uint8_t> packed = RandomCodes(layout);
    const std::vector<uint16_t> values = reference::DecodeTensor(layout, packed);
    ExpectRange(layout, packed, values, {0, 5, 0, columns});
    if (HasFatalFailure()) return;
  }
}

TEST_P(CodecFormatsTest, DecodesEveryColumnRangeOfSomeRows) {
  const PackedSample sample(format(), 4, 139, WeightSample::kOutliers, 4);
  ASSERT_TRUE(sample.plan.representability.ok());
  const PackedLayout& layout = sample.plan.layout;
  const std::vector<uint16_t> values = reference::DecodeTensor(layout, sample.packed);
  for (int64_t first = 0; first <= 139; first += 3) {
    for (int64_t count = 0; first + count <= 139; ++count) {
      ExpectRange(layout, sample.packed, values, {1, 2, first, count});
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(CodecTensorScaleTest, DecodesEveryBias) {
  const auto codes = static_cast<int64_t>(CodeCount(info()));
  for (int bias = 0; bias <= LargestExponentBias(info()); ++bias) {
    const PackedLayout layout = LayoutOf(format(), 1, codes, bias);
    const std::vector<uint8_t> packed = RandomCodes(layout);
    ExpectRange(layout, packed, reference::DecodeTensor(layout, packed), {0, 1, 0, codes});
    if (HasFatalFailure()) return;
  }
}

// Side lists of any order and any position, scales of any kind.
TEST_P(CodecFormatsTest, WritesNothingOutsideWhateverThePackedBytesAre) {
  for (const int64_t columns : {5, 64, 131}) {
    const bool has_bias = info().scaling == Scaling::kTensor;
    const PackedLayout layout = LayoutOf(format(), 4, columns, 0, has_bias ? 4 * columns : 0);
    std::vector<uint8_t> packed(layout.total_bytes);
    for (uint64_t seed = 1; seed <= 20; ++seed) {
      FillWithRandomBytes(packed, seed);
      if (has_bias && seed % 2 == 0) {
        // Positions inside and around the tensor, out of order.
        for (int64_t i = 0; i < layout.side_count; ++i) {
          const auto position = static_cast<uint32_t>(i * 7919 % (5 * columns));
          std::memcpy(packed.data() + layout.side_position_offset_bytes + i * 4, &position, 4);
        }
      }
      Guarded<uint16_t> fp16(2 * columns, 1);
      Guarded<uint16_t> bf16(2 * columns, 1);
      Guarded<float> fp32(2 * columns, 1);
      DecodeToFp16(layout, packed.data(), {1, 2, 0, columns}, fp16.begin());
      DecodeToBf16(layout, packed.data(), {1, 2, 0, columns}, bf16.begin());
      DecodeToFp32(layout, packed.data(), {1, 2, 0, columns}, fp32.begin());
      ASSERT_TRUE(fp16.GuardsIntact() && bf16.GuardsIntact() && fp32.GuardsIntact());
    }
  }
}

TEST_P(CodecFormatsTest, EncodesTheSameInManyThreadsAsInOne) {
  const PackedSample sample(format(), 37, 5000, WeightSample::kOutliers, 5);
  ASSERT_TRUE(sample.plan.representability.ok());
  const EncodingPlan plan = PlanEncoding(format(), 37, 5000, sample.fp16.data(), InThreads(4));
  EXPECT_EQ(plan.layout.exponent_bias, sample.plan.layout.exponent_bias);
  EXPECT_EQ(plan.layout.side_count, sample.plan.layout.side_count);
  std::vector<uint8_t> packed(plan.layout.total_bytes, 0xAA);
  EncodeTensor(plan.layout, sample.fp16.data(), packed.data(), InThreads(4));
  EXPECT_EQ(packed, sample.packed);
}

TEST(ParallelForTest, CallsEachIndexOnceInPiecesOfTheGrain) {
  for (const int threads : {1, 2, 7}) {
    for (const int64_t count : {0, 1, 5, 64, 65}) {
      std::vector<int> calls(count);
      const auto work = [&](int64_t begin, int64_t end) {
        EXPECT_TRUE(end - begin == 8 || end == count);
        for (int64_t i = begin; i < end; ++i) ++calls[i];
      };
      const ParallelFor parallel_for = InThreads(threads);
      if (threads == 1) {
        EXPECT_FALSE(parallel_for);
      } else {
        parallel_for(count, 8, work);
        EXPECT_EQ(std::count(calls.begin(), calls.end(), 1), count);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(FormatsAndSimdTargets, CodecFormatsTest,
                         testing::Combine(testing::ValuesIn(AllFormats()),
                                          testing::ValuesIn(AllSimdTargets())),
                         CodecTestName);

std::vector<WeightFormat> TensorScaledFormats() {
  std::vector<WeightFormat> formats = AllFormats();
  std::erase_if(formats,
                [](WeightFormat format) { return InfoOf(format).scaling != Scaling::kTensor; });
  return formats;
}

INSTANTIATE_TEST_SUITE_P(FormatsAndSimdTargets, CodecTensorScaleTest,
                         testing::Combine(testing::ValuesIn(TensorScaledFormats()),
                                          testing::ValuesIn(AllSimdTargets())),
                         CodecTestName);

INSTANTIATE_TEST_SUITE_P(FormatsAndSimdTargets, CodecRowScaleTest,
                         testing::Combine(testing::Values(WeightFormat::kE2m3r,
                                                          WeightFormat::kE2m5r),
                                          testing::ValuesIn(AllSimdTargets())),
                         CodecTestName);

}  // namespace
}  // namespace tightfit
