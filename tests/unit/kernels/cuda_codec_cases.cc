#include "tests/unit/kernels/cuda_codec_cases.h"

#include "kernels/codec_reference.h"
#include "kernels/row_scale_candidates.h"
#include "tests/unit/kernels/reference_probe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>

namespace tightfit::cuda {
namespace {

using reference::Bf16OfFp16;
using reference::ValueOfFp16;

constexpr DecodedType kTypes[] = {DecodedType::kFp16, DecodedType::kBf16, DecodedType::kFp32};

std::vector<int64_t> ColumnCounts() {
  std::vector<int64_t> counts;
  for (int64_t columns = 0; columns <= 67; ++columns) counts.push_back(columns);
  counts.push_back(131);
  counts.push_back(1280);
  return counts;
}

bool IsFinite(uint32_t fp16) { return (fp16 & 0x7C00) != 0x7C00; }

// A number at or above +0, subnormals and zero among them.
uint16_t RandomScale(std::mt19937& random) {
  const auto fp16 = static_cast<uint16_t>(random() & 0x7FFF);
  return IsFinite(fp16) ? fp16 : 0x3555;
}

template <typename T>
void Put(std::vector<uint8_t>& packed, int64_t offset, T value) {
  std::memcpy(packed.data() + offset, &value, sizeof(value));
}

// Random bytes, but scales that are numbers and, if any, ascending positions of a side list, the
// last of them outside the tensor.
PackedTensor RandomTensor(const PackedLayout& layout, uint32_t seed) {
  std::mt19937 random(seed);
  PackedTensor tensor{.layout = layout, .packed = std::vector<uint8_t>(layout.total_bytes)};
  std::vector<uint8_t>& packed = tensor.packed;
  for (uint8_t& byte : packed) byte = static_cast<uint8_t>(random());
  const int64_t weights = layout.rows * layout.columns;
  if (weights == 0) return tensor;
  const Scaling scaling = InfoOf(layout.format).scaling;
  if (scaling == Scaling::kRow || scaling == Scaling::kBlock32) {
    for (int64_t at = layout.scale_offset_bytes; at < layout.side_position_offset_bytes; at += 2) {
      Put(packed, at, RandomScale(random));
    }
  } else if (scaling == Scaling::kBlock64) {
    for (int64_t at = layout.scale_offset_bytes; at < layout.block_scale_offset_bytes; at += 4) {
      Put(packed, at, static_cast<float>(ValueOfFp16(RandomScale(random))));
    }
  }
  for (int64_t i = 0; i < layout.side_count; ++i) {
    const int64_t position = i + 1 == layout.side_count ? weights : i * weights / layout.side_count;
    Put(packed, layout.side_position_offset_bytes + 4 * i, static_cast<uint32_t>(position));
    Put(packed, layout.side_value_offset_bytes + 2 * i, RandomScale(random));
  }
  return tensor;
}

PackedLayout SomeLayout(WeightFormat format, int64_t rows, int64_t columns, uint32_t seed) {
  const FormatInfo& info = InfoOf(format);
  if (info.scaling != Scaling::kTensor) return LayoutOf(format, rows, columns);
  const int bias = static_cast<int>(seed % (LargestExponentBias(info) + 1));
  return LayoutOf(format, rows, columns, bias, std::min<int64_t>(rows * columns, seed % 4));
}

template <typename T>
T Element(const std::vector<uint8_t>& bytes, size_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
  return value;
}

// A NaN may be any NaN but that of fp8, in its own fp16.
bool IsValue(const std::vector<uint8_t>& decoded, DecodedType type, size_t i, uint16_t fp16,
             WeightFormat format) {
  const double value = ValueOfFp16(fp16);
  if (type == DecodedType::kFp32) {
    const auto got = Element<float>(decoded, i);
    if (std::isnan(value)) return std::isnan(got);
    return std::bit_cast<uint32_t>(got) == std::bit_cast<uint32_t>(static_cast<float>(value));
  }
  const auto got = Element<uint16_t>(decoded, i);
  if (type == DecodedType::kBf16) {
    if (std::isnan(value)) return (got & 0x7FFF) > 0x7F80;
    if (std::isinf(value)) return got == (fp16 >> 15 << 15 | 0x7F80);
    return got == Bf16OfFp16(fp16);
  }
  if (std::isnan(value) && format != WeightFormat::kFp8E4m3) return (got & 0x7FFF) > 0x7C00;
  return got == fp16;
}

void ExpectLikeReference(CudaRunner& runner, std::span<const PackedTensor> tensors) {
  for (const DecodedType type : kTypes) {
    const std::vector<std::vector<uint8_t>> decoded = runner.Decode(tensors, type);
    for (size_t number = 0; number < tensors.size(); ++number) {
      const PackedLayout& layout = tensors[number].layout;
      const std::vector<uint16_t> expected =
          reference::DecodeTensor(layout, tensors[number].packed);
      ASSERT_EQ(decoded[number].size(), expected.size() * BytesOf(type));
      for (size_t i = 0; i < expected.size(); ++i) {
        ASSERT_TRUE(IsValue(decoded[number], type, i, expected[i], layout.format))
            << InfoOf(layout.format).name << " " << layout.rows << " x " << layout.columns
            << ", tensor " << number << ", weight " << i << ", type " << static_cast<int>(type)
            << ": wanted fp16 0x" << std::hex << expected[i] << ", got 0x"
            << (BytesOf(type) == 2 ? Element<uint16_t>(decoded[number], i)
                                   : Element<uint32_t>(decoded[number], i));
      }
    }
  }
}

void ExpectEncodesLikeReference(CudaRunner& runner, const PackedLayout& layout,
                                std::span<const uint16_t> fp16) {
  const std::vector<uint8_t> expected = reference::EncodeTensor(layout, fp16);
  const std::vector<uint8_t> encoded = runner.Encode(layout, fp16);
  ASSERT_EQ(encoded.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_EQ(encoded[i], expected[i])
        << InfoOf(layout.format).name << " " << layout.rows << " x " << layout.columns << ", bias "
        << layout.exponent_bias << ", byte " << i << ": scales begin at "
        << layout.scale_offset_bytes << ", the side list at " << layout.side_position_offset_bytes;
  }
}

// Weights like a model's, now and then a zero of either sign, a subnormal, a tiny row.
std::vector<uint16_t> ModelWeights(int64_t rows, int64_t columns, uint32_t seed) {
  std::vector<uint16_t> weights = reference::GaussianWeights(rows * columns, 0.04, seed + 1);
  std::mt19937 random(seed);
  for (int64_t i = 0; i < rows * columns; ++i) {
    if (random() % 16 == 0) weights[i] &= 0x8000;
    if (random() % 16 == 0) weights[i] &= 0x83FF;
    if (i / columns % 5 == 3) weights[i] &= 0x800F;
    if (i / columns % 5 == 4) weights[i] &= 0x8000;
  }
  return weights;
}

}  // namespace

void ExpectDecodesEveryShape(CudaRunner& runner, WeightFormat format) {
  uint32_t seed = 0;
  for (const int64_t columns : ColumnCounts()) {
    for (int64_t rows = 1; rows <= 5; ++rows) {
      ++seed;
      PackedTensor tensor = RandomTensor(SomeLayout(format, rows, columns, seed), seed);
      tensor.misalignment = seed % 3 == 0 ? 0 : seed % 11;
      ExpectLikeReference(runner, {&tensor, 1});
      if (testing::Test::HasFailure()) return;
    }
  }
}

void ExpectDecodesSeveralTensors(CudaRunner& runner, WeightFormat format) {
  constexpr int64_t kShapes[kMaxDecodeTensors][2] = {
      {1, 16},  {40, 128}, {0, 64},  {64, 64},  {3, 1280}, {1, 64},   {130, 256}, {2, 4096},
      {5, 128}, {9, 64},   {16, 64}, {1, 1024}, {7, 640},  {64, 320}, {1, 20480}, {33, 64}};
  std::vector<PackedTensor> tensors;
  for (const auto& [rows, columns] : kShapes) {
    const auto seed = static_cast<uint32_t>(tensors.size());
    tensors.push_back(RandomTensor(SomeLayout(format, rows, columns, seed), seed));
  }
  ExpectLikeReference(runner, tensors);
  tensors[3] = RandomTensor(SomeLayout(format, 11, 37, 3), 3);
  tensors[15] = RandomTensor(SomeLayout(format, 1, 1, 1), 1);
  tensors[8].misalignment = 1;
  ExpectLikeReference(runner, tensors);
  ExpectLikeReference(runner, std::span(tensors).first(3));
  ExpectLikeReference(runner, std::span(tensors).subspan(2, 1));
}

void ExpectDecodesEveryCode(CudaRunner& runner, WeightFormat format) {
  const FormatInfo& info = InfoOf(format);
  const int64_t codes = std::max<int64_t>(CodeCount(info), 64);
  constexpr int64_t kRows = 24;
  PackedTensor tensor = RandomTensor(SomeLayout(format, kRows, codes, 21), 5);
  std::vector<uint8_t>& packed = tensor.packed;
  const PackedLayout& layout = tensor.layout;
  if (RadixWordOf(info).digits == 0) {
    std::fill_n(packed.begin(), layout.scale_offset_bytes, 0);
    for (int64_t row = 0; row < kRows; ++row) {
      for (int64_t column = 0; column < codes; ++column) {
        uint64_t code = column % CodeCount(info);
        for (const reference::BitRange place : reference::CodePlaces(layout, row, column)) {
          for (int64_t bit = place.first; bit < place.first + place.count; ++bit, code /= 2) {
            packed[bit / 8] |= static_cast<uint8_t>((code & 1) << bit % 8);
          }
        }
      }
    }
  }
  ExpectLikeReference(runner, {&tensor, 1});
}

void ExpectSurvivesGarbage(CudaRunner& runner, WeightFormat format) {
  std::mt19937 random(7);
  for (const int64_t columns : {1, 15, 16, 17, 33, 64, 131, 640}) {
    for (const uint8_t fill : {0x00, 0xFF, 0x01}) {
      PackedTensor tensor = RandomTensor(SomeLayout(format, 3, columns, 7), 7);
      for (uint8_t& byte : tensor.packed) {
        byte = fill == 0x01 ? static_cast<uint8_t>(random()) : fill;
      }
      for (const DecodedType type : kTypes) runner.Decode({&tensor, 1}, type);
    }
  }
}

void ExpectEncodesEveryShape(CudaRunner& runner, WeightFormat format) {
  uint32_t seed = 0;
  for (const int64_t columns : ColumnCounts()) {
    for (int64_t rows = 1; rows <= 5; ++rows) {
      std::vector<uint16_t> weights = ModelWeights(rows, columns, ++seed);
      if (columns == 1280) weights[777] = format == WeightFormat::kHf8 ? 0x3A00 : 0x3B00;
      const EncodingPlan plan = reference::PlanEncoding(format, rows, columns, weights);
      ASSERT_TRUE(plan.representability.ok()) << InfoOf(format).name;
      ExpectEncodesLikeReference(runner, plan.layout, weights);
      if (testing::Test::HasFailure()) return;
    }
  }
  // More than one superblock, and a short last one.
  const std::vector<uint16_t> weights = ModelWeights(3, 16384 + 4001, 99);
  const EncodingPlan plan = reference::PlanEncoding(format, 3, 16384 + 4001, weights);
  ASSERT_TRUE(plan.representability.ok());
  ExpectEncodesLikeReference(runner, plan.layout, weights);
}

void ExpectEncodesEveryPattern(CudaRunner& runner, WeightFormat format) {
  const FormatInfo& info = InfoOf(format);
  std::vector<uint16_t> patterns;
  for (uint32_t fp16 = 0; fp16 < 65536; ++fp16) {
    const bool is_taken = info.family == FormatFamily::kFp8 || info.scaling == Scaling::kTensor ||
                          std::abs(ValueOfFp16(static_cast<uint16_t>(fp16))) <= info.max_value;
    if (IsFinite(fp16) && is_taken) patterns.push_back(static_cast<uint16_t>(fp16));
  }
  const auto count = static_cast<int64_t>(patterns.size());
  if (info.scaling != Scaling::kTensor) {
    ExpectEncodesLikeReference(runner, LayoutOf(format, 1, count), patterns);
    return;
  }
  for (int bias = 0; bias <= LargestExponentBias(info); ++bias) {
    const double largest = std::ldexp(LargestRaw(info), 15 - bias);
    const auto side_count = std::count_if(patterns.begin(), patterns.end(), [&](uint16_t fp16) {
      return std::abs(ValueOfFp16(fp16)) > largest;
    });
    ExpectEncodesLikeReference(runner, LayoutOf(format, 1, count, bias, side_count), patterns);
    if (testing::Test::HasFailure()) return;
  }
}

void ExpectCountsMagnitudes(CudaRunner& runner) {
  std::vector<uint16_t> weights = ModelWeights(3, 1001, 5);
  weights[5] = 0x7C00;
  weights[6] = 0xFC01;
  std::vector<uint32_t> expected(32768);
  for (const uint16_t fp16 : weights) ++expected[fp16 & 0x7FFF];
  EXPECT_EQ(runner.CountMagnitudes(weights), expected);
}

}  // namespace tightfit::cuda
