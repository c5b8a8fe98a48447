#include "server/model/packed_ops.h"

#include "kernels/codec_reference.h"
#include "server/model/packed_weight.h"

#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>
#include <torch/script.h>

#include <optional>
#include <vector>

namespace tightfit {
namespace {

using LinearOperator = at::Tensor(const at::Tensor&, const at::Tensor&, at::IntArrayRef, int64_t,
                                  const std::optional<at::Tensor>&);
using ConvOperator = at::Tensor(const at::Tensor&, const at::Tensor&, at::IntArrayRef, int64_t,
                                const std::optional<at::Tensor>&, at::IntArrayRef, at::IntArrayRef,
                                at::IntArrayRef, int64_t);

at::Tensor PackedLinear(const at::Tensor& x, const at::Tensor& weight, at::IntArrayRef shape,
                        WeightFormat format, const std::optional<at::Tensor>& bias) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("tightfit::linear", "")
                             .typed<LinearOperator>();
  return op.call(x, weight, shape, static_cast<int64_t>(format), bias);
}

struct ConvGeometry {
  std::vector<int64_t> shape;
  std::vector<int64_t> stride;
  std::vector<int64_t> padding;
  int64_t groups = 1;
};

at::Tensor PackedConv2d(const at::Tensor& x, const at::Tensor& weight, const ConvGeometry& geometry,
                        WeightFormat format, const std::optional<at::Tensor>& bias) {
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("tightfit::conv2d", "").typed<ConvOperator>();
  const std::vector<int64_t> dilation = {1, 1};
  return op.call(x, weight, geometry.shape, static_cast<int64_t>(format), bias, geometry.stride,
                 geometry.padding, dilation, geometry.groups);
}

at::Tensor Random(const std::vector<int64_t>& shape, double scale, uint64_t seed) {
  return at::randn(shape, at::detail::createCPUGenerator(seed)) * scale;
}

// Values of all binades of the formats, in fp16.
at::Tensor RandomWeight(const std::vector<int64_t>& shape) {
  const at::Tensor exponents = at::rand(shape, at::detail::createCPUGenerator(7)) * 14 - 15;
  return (Random(shape, 1.0, 8).sign() * exponents.exp2()).clamp(-0.74, 0.74).to(at::kHalf);
}

// decode(encode(w)) by the reference, in fp32. `weight`: in the order of its codes.
at::Tensor RoundTrip(const at::Tensor& weight, WeightFormat format) {
  at::Tensor copy = weight.contiguous().clone();
  auto* const patterns = static_cast<uint16_t*>(copy.mutable_data_ptr());
  const std::span<const uint16_t> fp16(patterns, copy.numel());
  const PackedLayout layout =
      reference::PlanEncoding(format, copy.size(0), copy.numel() / copy.size(0), fp16).layout;
  const std::vector<uint16_t> decoded =
      reference::DecodeTensor(layout, reference::EncodeTensor(layout, fp16));
  std::copy(decoded.begin(), decoded.end(), patterns);
  return copy.to(at::kFloat);
}

// `rows_first`: the weight in the order of its codes.
at::Tensor Pack(const at::Tensor& rows_first, WeightFormat format) {
  const at::Tensor in = rows_first.contiguous();
  const auto* const fp16 = static_cast<const uint16_t*>(in.const_data_ptr());
  return PackWeight(PlanWeight(format, in.sizes(), fp16).layout, in.sizes(), fp16);
}

std::string Difference(const at::Tensor& found, const at::Tensor& expected) {
  const at::Tensor difference = (found.to(at::kFloat) - expected.to(at::kFloat)).abs();
  return "largest difference " + std::to_string(difference.max().item<float>()) + " of " +
         std::to_string(expected.to(at::kFloat).abs().max().item<float>());
}

const std::vector<at::ScalarType> kDtypes = {at::kFloat, at::kBFloat16};

TEST(PackedLinearTest, EqualsTheDenseProductBitForBit) {
  // 83 columns: rows are padded; 40 x 83 weights: more than one group of 16.
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{64, 128}, {40, 83}, {1, 1}}) {
    const at::Tensor weight = RandomWeight(shape);
    for (const FormatInfo& info : kFormats) {
      const at::Tensor packed = Pack(weight, info.format);
      const at::Tensor decoded = RoundTrip(weight, info.format);
      for (const at::ScalarType dtype : kDtypes) {
        const at::Tensor dense = decoded.to(dtype);
        const at::Tensor bias = Random({shape[0]}, 1.0, 3).to(dtype);
        for (const std::vector<int64_t>& rows : {std::vector<int64_t>{5}, {2, 7}, {1}}) {
          std::vector<int64_t> x_shape = rows;
          x_shape.push_back(shape[1]);
          const at::Tensor x = Random(x_shape, 1.0, 4).to(dtype);
          for (const std::optional<at::Tensor>& b : {std::optional(bias), {}}) {
            const at::Tensor found = PackedLinear(x, packed, shape, info.format, b);
            const at::Tensor expected = at::linear(x, dense, b);
            EXPECT_EQ(found.scalar_type(), dtype);
            EXPECT_TRUE(at::equal(found, expected))
                << info.name << " " << dtype << " " << at::IntArrayRef(x_shape) << " "
                << Difference(found, expected);
          }
        }
      }
    }
  }
}

TEST(PackedConv2dTest, EqualsTheDenseConvolutionBitForBit) {
  const std::vector<ConvGeometry> geometries = {
      {{16, 8, 3, 3}, {1, 1}, {1, 1}},   {{16, 8, 3, 3}, {2, 2}, {1, 1}},
      {{16, 8, 3, 3}, {2, 1}, {0, 1}},   {{24, 12, 1, 1}, {1, 1}, {0, 0}},
      {{4, 5, 3, 3}, {1, 1}, {1, 1}},    {{8, 3, 1, 3}, {1, 1}, {0, 1}},
      {{16, 4, 3, 3}, {1, 1}, {1, 1}, 2}};
  for (const ConvGeometry& geometry : geometries) {
    const at::Tensor weight = RandomWeight(geometry.shape);
    for (const FormatInfo& info : kFormats) {
      const at::Tensor codes_order = weight.permute({0, 2, 3, 1});
      const at::Tensor packed = Pack(codes_order, info.format);
      const at::Tensor decoded = RoundTrip(codes_order, info.format);
      for (const at::ScalarType dtype : kDtypes) {
        // K, R, S, C in memory, with the strides of it also where a dimension of 1 allows others:
        // LibTorch chooses its kernel by them.
        const int64_t c = geometry.shape[1];
        const int64_t s = geometry.shape[3];
        const at::Tensor dense = decoded.to(dtype).contiguous().as_strided(
            geometry.shape, {geometry.shape[2] * s * c, 1, s * c, c});
        const at::Tensor x =
            Random({2, geometry.shape[1] * geometry.groups, 9, 11}, 1.0, 5).to(dtype);
        const at::Tensor bias = Random({geometry.shape[0]}, 1.0, 6).to(dtype);
        for (const std::optional<at::Tensor>& b : {std::optional(bias), {}}) {
          const at::Tensor found = PackedConv2d(x, packed, geometry, info.format, b);
          const at::Tensor expected =
              at::conv2d(x, dense, b, geometry.stride, geometry.padding, {1, 1}, geometry.groups);
          EXPECT_TRUE(at::equal(found, expected))
              << info.name << " " << dtype << " " << at::IntArrayRef(geometry.shape) << " "
              << Difference(found, expected);
          // The same numbers, whatever way the dense weight lies in memory.
          const at::Tensor contiguous = at::conv2d(x, dense.contiguous(), b, geometry.stride,
                                                   geometry.padding, {1, 1}, geometry.groups);
          const double tolerance = dtype == at::kFloat ? 1e-5 : 2e-2;
          EXPECT_TRUE(
              at::allclose(found.to(at::kFloat), contiguous.to(at::kFloat), tolerance, tolerance))
              << info.name << " " << Difference(found, contiguous);
        }
      }
    }
  }
}

TEST(PackedLinearTest, ANeighbouringFormatGivesOtherNumbers) {
  const at::Tensor weight = RandomWeight({64, 128});
  const at::Tensor x = Random({5, 128}, 1.0, 4);
  const at::Tensor expected = at::linear(x, RoundTrip(weight, WeightFormat::kHf8));
  const auto product = [&](WeightFormat format) {
    return PackedLinear(x, Pack(weight, format), {64, 128}, format, {});
  };
  EXPECT_TRUE(at::equal(product(WeightFormat::kHf8), expected));
  EXPECT_FALSE(at::allclose(product(WeightFormat::kHf8x), expected, 1e-2));
}

TEST(PackedLinearTest, UsesADenseWeightAsItIs) {
  const at::Tensor weight = Random({6, 4}, 100.0, 1);
  const at::Tensor x = Random({3, 4}, 1.0, 2);
  EXPECT_TRUE(
      at::equal(PackedLinear(x, weight, {6, 4}, WeightFormat::kHf8, {}), at::linear(x, weight)));
}

TEST(PackedLinearTest, RefusesBytesThatDoNotFitTheShape) {
  const at::Tensor packed = Pack(RandomWeight({64, 128}), WeightFormat::kHf8);
  const at::Tensor x = Random({5, 128}, 1.0, 4);
  EXPECT_THROW(PackedLinear(x, packed.slice(0, 0, 64 * 128 - 1), {64, 128}, WeightFormat::kHf8, {}),
               c10::Error);
  EXPECT_THROW(PackedLinear(x, packed, {65, 128}, WeightFormat::kHf8, {}), c10::Error);
  EXPECT_THROW(PackedLinear(x, packed, {64, 128}, WeightFormat::kHf12, {}), c10::Error);
  EXPECT_THROW(PackedLinear(x, packed, {64, 128}, static_cast<WeightFormat>(99), {}), c10::Error);
  EXPECT_THROW(PackedLinear(x, packed, {64, 16, 8}, WeightFormat::kHf8, {}), c10::Error);
  EXPECT_THROW(PackedLinear(x.to(at::kDouble), packed, {64, 128}, WeightFormat::kHf8, {}),
               c10::Error);
}

TEST(PackedWeightTest, CarriesItsLayoutToADeviceWhereItsHeaderCannotBeRead) {
  const at::Tensor packed = Pack(RandomWeight({64, 128}), WeightFormat::kHf8);
  const PackedLayout expected = LayoutOfPackedWeight(packed, WeightFormat::kHf8, {64, 128});
  const at::Tensor moved = CopyPackedWeight(packed, at::kMeta);
  ASSERT_TRUE(moved.is_meta());
  const PackedLayout found = LayoutOfPackedWeight(moved, WeightFormat::kHf8, {64, 128});
  EXPECT_EQ(found.total_bytes, expected.total_bytes);
  EXPECT_EQ(found.exponent_bias, expected.exponent_bias);
  EXPECT_EQ(found.side_count, expected.side_count);
  EXPECT_THROW(LayoutOfPackedWeight(moved, WeightFormat::kHf12, {64, 128}), c10::Error);
  EXPECT_THROW(LayoutOfPackedWeight(packed.to(at::kMeta), WeightFormat::kHf8, {64, 128}),
               c10::Error)
      << "it was moved without its layout";
}

TEST(DecodeScratchTest, IsOneBufferOfTheLargestWeight) {
  ReleaseDecodeScratch();
  MemoryAccount* const account = DecodeScratchAccount();
  ASSERT_EQ(account->current_bytes(), 0);
  account->ResetPeak();
  const at::Tensor small = Pack(RandomWeight({16, 16}), WeightFormat::kHf8);
  const at::Tensor large = Pack(RandomWeight({64, 32}), WeightFormat::kHf8);
  PackedLinear(at::zeros({1, 16}), small, {16, 16}, WeightFormat::kHf8, {});
  EXPECT_EQ(account->current_bytes(), 16 * 16 * 4);
  PackedLinear(at::zeros({1, 32}), large, {64, 32}, WeightFormat::kHf8, {});
  PackedLinear(at::zeros({1, 16}), small, {16, 16}, WeightFormat::kHf8, {});
  EXPECT_EQ(account->current_bytes(), 64 * 32 * 4);
  EXPECT_EQ(account->peak_bytes(), 64 * 32 * 4)
      << "the smaller buffer goes before the larger comes";
  ReleaseDecodeScratch();
  EXPECT_EQ(account->current_bytes(), 0);
}

}  // namespace
}  // namespace tightfit
