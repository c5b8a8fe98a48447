#include "server/weights/decode_product.h"

#include "kernels/codec.h"
#include "kernels/codec_reference.h"
#include "server/device/cpu_products.h"
#include "server/weights/operators.h"
#include "server/weights/weight.h"

#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>
#include <torch/script.h>

#include <optional>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

using Held = c10::intrusive_ptr<Weight>;
using LinearOperator = at::Tensor(const at::Tensor&, const Held&, const std::optional<at::Tensor>&);
using ConvOperator = at::Tensor(const at::Tensor&, const Held&, const std::optional<at::Tensor>&,
                                at::IntArrayRef, at::IntArrayRef, at::IntArrayRef, int64_t);

at::Tensor LinearOf(const at::Tensor& x, const Held& weight,
                    const std::optional<at::Tensor>& bias) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("tightfit::linear", "")
                             .typed<LinearOperator>();
  return op.call(x, weight, bias);
}

struct Convolution {
  std::vector<int64_t> shape;
  std::vector<int64_t> stride;
  std::vector<int64_t> padding;
  int64_t groups = 1;
};

at::Tensor Conv2dOf(const at::Tensor& x, const Held& weight, const Convolution& convolution,
                    const std::optional<at::Tensor>& bias) {
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("tightfit::conv2d", "").typed<ConvOperator>();
  const std::vector<int64_t> dilation = {1, 1};
  return op.call(x, weight, bias, convolution.stride, convolution.padding, dilation,
                 convolution.groups);
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

struct Codes {
  PackedLayout layout;
  at::Tensor bytes;
};

// `rows_first`: the weight in the order of its codes.
Codes Encode(const at::Tensor& rows_first, WeightFormat format) {
  const at::Tensor in = rows_first.contiguous();
  const auto* const fp16 = static_cast<const uint16_t*>(in.const_data_ptr());
  const int64_t rows = in.size(0);
  const PackedLayout layout = PlanEncoding(format, rows, in.numel() / rows, fp16).layout;
  at::Tensor bytes = at::empty({layout.total_bytes}, at::TensorOptions().dtype(at::kByte));
  EncodeTensor(layout, fp16, bytes.mutable_data_ptr<uint8_t>());
  return {layout, std::move(bytes)};
}

// `shape`: of the dense weight.
Held Pack(const at::Tensor& rows_first, WeightFormat format, const std::vector<int64_t>& shape) {
  Codes codes = Encode(rows_first, format);
  auto weight = c10::make_intrusive<Weight>();
  weight->SetPacked(codes.layout, shape, std::move(codes.bytes));
  return weight;
}

Held Dense(const at::Tensor& tensor) {
  auto weight = c10::make_intrusive<Weight>();
  weight->SetDense(tensor);
  return weight;
}

std::string Difference(const at::Tensor& found, const at::Tensor& expected) {
  const at::Tensor difference = (found.to(at::kFloat) - expected.to(at::kFloat)).abs();
  return "largest difference " + std::to_string(difference.max().item<float>()) + " of " +
         std::to_string(expected.to(at::kFloat).abs().max().item<float>());
}

const std::vector<at::ScalarType> kDtypes = {at::kFloat, at::kBFloat16, at::kHalf};

// `product` of the tensors in the dtype that this processor multiplies in, as x has it.
template <typename Product>
at::Tensor AsMultiplied(Product product, const at::Tensor& x, const at::Tensor& weight,
                        const std::optional<at::Tensor>& bias) {
  if (CpuMultipliesIn(x.scalar_type())) return product(x, weight, bias);
  std::optional<at::Tensor> wide_bias;
  if (bias.has_value()) wide_bias = bias->to(at::kFloat);
  return product(x.to(at::kFloat), weight.to(at::kFloat), wide_bias).to(x.scalar_type());
}

at::Tensor DenseLinear(const at::Tensor& x, const at::Tensor& weight,
                       const std::optional<at::Tensor>& bias) {
  return AsMultiplied([](const auto&... of) { return at::linear(of...); }, x, weight, bias);
}

at::Tensor DenseConv2d(const at::Tensor& x, const at::Tensor& weight,
                       const Convolution& convolution, const std::optional<at::Tensor>& bias) {
  const auto product = [&](const auto&... of) {
    return at::conv2d(of..., convolution.stride, convolution.padding, {1, 1}, convolution.groups);
  };
  return AsMultiplied(product, x, weight, bias);
}

TEST(PackedLinearTest, EqualsTheDenseProductBitForBit) {
  // 83 columns: rows are padded; 40 x 83 weights: more than one group of 16.
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{64, 128}, {40, 83}, {1, 1}}) {
    const at::Tensor weight = RandomWeight(shape);
    for (const FormatInfo& info : kFormats) {
      const Held packed = Pack(weight, info.format, shape);
      const at::Tensor decoded = RoundTrip(weight, info.format);
      for (const at::ScalarType dtype : kDtypes) {
        const at::Tensor dense = decoded.to(dtype);
        const at::Tensor bias = Random({shape[0]}, 1.0, 3).to(dtype);
        for (const std::vector<int64_t>& rows : {std::vector<int64_t>{5}, {2, 7}, {1}}) {
          std::vector<int64_t> x_shape = rows;
          x_shape.push_back(shape[1]);
          const at::Tensor x = Random(x_shape, 1.0, 4).to(dtype);
          for (const std::optional<at::Tensor>& b : {std::optional(bias), {}}) {
            const at::Tensor found = LinearOf(x, packed, b);
            const at::Tensor expected = DenseLinear(x, dense, b);
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
  const std::vector<Convolution> convolutions = {
      {{16, 8, 3, 3}, {1, 1}, {1, 1}},   {{16, 8, 3, 3}, {2, 2}, {1, 1}},
      {{16, 8, 3, 3}, {2, 1}, {0, 1}},   {{24, 12, 1, 1}, {1, 1}, {0, 0}},
      {{4, 5, 3, 3}, {1, 1}, {1, 1}},    {{8, 3, 1, 3}, {1, 1}, {0, 1}},
      {{16, 4, 3, 3}, {1, 1}, {1, 1}, 2}};
  for (const Convolution& convolution : convolutions) {
    const at::Tensor weight = RandomWeight(convolution.shape);
    for (const FormatInfo& info : kFormats) {
      const at::Tensor codes_order = weight.permute({0, 2, 3, 1});
      const Held packed = Pack(codes_order, info.format, convolution.shape);
      const at::Tensor decoded = RoundTrip(codes_order, info.format);
      for (const at::ScalarType dtype : kDtypes) {
        // K, R, S, C in memory, with the strides of it also where a dimension of 1 allows others:
        // LibTorch chooses its kernel by them.
        const int64_t c = convolution.shape[1];
        const int64_t s = convolution.shape[3];
        const at::Tensor dense = decoded.to(dtype).contiguous().as_strided(
            convolution.shape, {convolution.shape[2] * s * c, 1, s * c, c});
        const at::Tensor x =
            Random({2, convolution.shape[1] * convolution.groups, 9, 11}, 1.0, 5).to(dtype);
        const at::Tensor bias = Random({convolution.shape[0]}, 1.0, 6).to(dtype);
        for (const std::optional<at::Tensor>& b : {std::optional(bias), {}}) {
          const at::Tensor found = Conv2dOf(x, packed, convolution, b);
          const at::Tensor expected = DenseConv2d(x, dense, convolution, b);
          EXPECT_TRUE(at::equal(found, expected))
              << info.name << " " << dtype << " " << at::IntArrayRef(convolution.shape) << " "
              << Difference(found, expected);
          // The same numbers, whatever way the dense weight lies in memory.
          const at::Tensor contiguous = DenseConv2d(x, dense.contiguous(), convolution, b);
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
    return LinearOf(x, Pack(weight, format, {64, 128}), {});
  };
  EXPECT_TRUE(at::equal(product(WeightFormat::kHf8), expected));
  EXPECT_FALSE(at::allclose(product(WeightFormat::kHf8x), expected, 1e-2));
}

// On any processor, whatever it multiplies in.
TEST(PackedLinearTest, ResultsIn16BitsAreTheExactProductRoundedOnce) {
  const at::Tensor weight = Random({24, 300}, 0.1, 1);
  const at::Tensor input = Random({7, 300}, 1.0, 2);
  for (const auto& [dtype, unit] : {std::pair(at::kBFloat16, 0x1p-8), {at::kHalf, 0x1p-11}}) {
    const at::Tensor x = input.to(dtype);
    const at::Tensor dense = weight.to(dtype);
    const at::Tensor found = LinearOf(x, Dense(dense), {}).to(at::kDouble);
    const at::Tensor exact = at::linear(x.to(at::kDouble), dense.to(at::kDouble));
    // Sums of 300 products in fp32 beside it.
    EXPECT_TRUE(at::allclose(found, exact, unit, 1e-4)) << dtype << Difference(found, exact);
    EXPECT_FALSE(at::allclose(found, exact, unit / 4, 1e-5)) << "it was rounded";
  }
}

TEST(PackedLinearTest, UsesADenseWeightAsItIs) {
  const at::Tensor weight = Random({6, 4}, 100.0, 1);
  const at::Tensor x = Random({3, 4}, 1.0, 2);
  EXPECT_TRUE(at::equal(LinearOf(x, Dense(weight), {}), at::linear(x, weight)));
}

TEST(PackedLinearTest, RefusesWeightsThatAreNotOfItsLayer) {
  const at::Tensor x = Random({5, 128}, 1.0, 4);
  EXPECT_THROW(LinearOf(x, Dense(Random({64, 16, 8}, 1.0, 1)), {}), c10::Error);
  EXPECT_THROW(LinearOf(x, c10::make_intrusive<Weight>(), {}), c10::Error) << "it holds nothing";
  const Held packed = Pack(RandomWeight({64, 128}), WeightFormat::kHf8, {64, 128});
  EXPECT_THROW(LinearOf(x.to(at::kDouble), packed, {}), c10::Error);
}

TEST(WeightTest, RefusesCodesThatDoNotFitTheShape) {
  const Codes codes = Encode(RandomWeight({64, 128}), WeightFormat::kHf8);
  Weight weight;
  const at::Tensor& bytes = codes.bytes;
  EXPECT_THROW(weight.SetPacked(codes.layout, {64, 128}, bytes.slice(0, 0, bytes.numel() - 1)),
               c10::Error);
  EXPECT_THROW(weight.SetPacked(codes.layout, {65, 128}, bytes), c10::Error);
  EXPECT_THROW(weight.SetPacked(codes.layout, {}, bytes), c10::Error);
  EXPECT_THROW(weight.SetPacked(codes.layout, {64, 128}, bytes.to(at::kShort)), c10::Error);
  EXPECT_FALSE(weight.tensor().defined()) << "what is refused is not kept";
}

TEST(WeightTest, KeepsItsLayoutOnADeviceWhoseBytesCannotBeRead) {
  const Held packed = Pack(RandomWeight({64, 128}), WeightFormat::kHf8, {64, 128});
  const Weight moved = packed->CopyTo(at::kMeta);
  ASSERT_TRUE(moved.tensor().is_meta());
  EXPECT_EQ(moved.layout().total_bytes, packed->layout().total_bytes);
  EXPECT_EQ(moved.layout().exponent_bias, packed->layout().exponent_bias);
  EXPECT_EQ(moved.shape(), packed->shape());
}

TEST(DecodeScratchTest, IsOneBufferOfTheLargestWeight) {
  ReleaseDecodeScratch();
  MemoryAccount* const account = DecodeScratchAccount();
  ASSERT_EQ(account->current_bytes(), 0);
  account->ResetPeak();
  const Held small = Pack(RandomWeight({16, 16}), WeightFormat::kHf8, {16, 16});
  const Held large = Pack(RandomWeight({64, 32}), WeightFormat::kHf8, {64, 32});
  LinearOf(at::zeros({1, 16}), small, {});
  EXPECT_EQ(account->current_bytes(), 16 * 16 * 4);
  LinearOf(at::zeros({1, 32}), large, {});
  LinearOf(at::zeros({1, 16}), small, {});
  EXPECT_EQ(account->current_bytes(), 64 * 32 * 4);
  EXPECT_EQ(account->peak_bytes(), 64 * 32 * 4)
      << "the smaller buffer goes before the larger comes";
  ReleaseDecodeScratch();
  EXPECT_EQ(account->current_bytes(), 0);
}

}  // namespace
}  // namespace tightfit
