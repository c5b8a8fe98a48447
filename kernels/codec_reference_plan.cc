// Which tensors a format takes, and the exponent bias of tensor-scaled floats: every bias is tried
// on every weight, with exact sums.
#include "kernels/codec_reference.h"
#include "kernels/codec_reference_parts.h"

#include <hwy/base.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

namespace tightfit::reference {
namespace {

// Wide enough: 2^32 squares of at most 2^80.
using WideSum = unsigned __int128;

// Every finite fp16 is a whole number of the smallest subnormal, 2^-24.
int64_t MagnitudeInUnits(uint16_t fp16) {
  return static_cast<int64_t>(std::ldexp(std::abs(ValueOfFp16(fp16)), 24));
}

// The magnitudes of a tensor-scaled float at this bias, in units of 2^-24, ascending. S is
// 2^(15 - bias); at every allowed bias raw * S is a whole number of units.
std::vector<int64_t> MagnitudesAtBias(WeightFormat format, int exponent_bias) {
  std::vector<int64_t> magnitudes;
  for (uint32_t code = 0; code < CodeCount(InfoOf(format)) / 2; ++code) {
    const double value = std::ldexp(ValueOfFp16(DecodeCode(format, code)), 15 - exponent_bias);
    const double units = std::ldexp(value, 24);
    HWY_ASSERT(units == std::nearbyint(units));
    magnitudes.push_back(static_cast<int64_t>(units));
  }
  HWY_ASSERT(std::is_sorted(magnitudes.begin(), magnitudes.end()));
  return magnitudes;
}

// The distance to the nearest of `magnitudes`, of which one is at least `wanted`.
int64_t DistanceToNearest(const std::vector<int64_t>& magnitudes, int64_t wanted) {
  const auto above = std::lower_bound(magnitudes.begin(), magnitudes.end(), wanted);
  if (above == magnitudes.begin()) return *above - wanted;
  return std::min(*above - wanted, wanted - above[-1]);
}

struct BiasTrial {
  int64_t side_count = 0;
  WideSum squared_error = 0;
};

BiasTrial TryBias(WeightFormat format, int exponent_bias, const std::vector<int64_t>& weights) {
  const std::vector<int64_t> magnitudes = MagnitudesAtBias(format, exponent_bias);
  BiasTrial trial;
  for (const int64_t weight : weights) {
    if (weight > magnitudes.back()) {
      ++trial.side_count;
      continue;
    }
    const auto distance = static_cast<WideSum>(DistanceToNearest(magnitudes, weight));
    trial.squared_error += distance * distance;
  }
  return trial;
}

// More than 0.1 %.
bool IsTooMany(int64_t side_count, int64_t weights) { return side_count * 1000 > weights; }

EncodingPlan PlanTensorScaled(WeightFormat format, int64_t rows, int64_t columns,
                              Representability representability,
                              const std::vector<int64_t>& weights) {
  EncodingPlan plan{.representability = representability,
                    .layout = LayoutOf(format, rows, columns)};
  std::optional<BiasTrial> best;
  for (int bias = 0; bias <= LargestExponentBias(InfoOf(format)); ++bias) {
    const BiasTrial trial = TryBias(format, bias, weights);
    if (IsTooMany(trial.side_count, rows * columns)) {
      // Each bias cuts off what the one before does, and more: none is left if 0 is out.
      if (bias == 0) plan.representability.out_of_range_count = trial.side_count;
      break;
    }
    const bool is_better = !best || trial.squared_error < best->squared_error ||
                           (trial.squared_error == best->squared_error &&
                            trial.side_count <= best->side_count);  // equal: the larger bias
    if (!is_better) continue;
    best = trial;
    if (representability.ok()) {
      plan.layout = LayoutOf(format, rows, columns, bias, trial.side_count);
    }
  }
  return plan;
}

}  // namespace

EncodingPlan PlanEncoding(WeightFormat format, int64_t rows, int64_t columns,
                          std::span<const uint16_t> fp16) {
  HWY_ASSERT(static_cast<int64_t>(fp16.size()) == rows * columns);
  const FormatInfo& info = InfoOf(format);
  Representability representability;
  std::vector<int64_t> finite_magnitudes;
  for (const uint16_t x : fp16) {
    const double value = ValueOfFp16(x);
    if (std::isnan(value)) {
      ++representability.nan_count;
    } else if (std::isinf(value)) {
      ++representability.infinity_count;
    } else {
      finite_magnitudes.push_back(MagnitudeInUnits(x));
      // Tensor-scaled floats are judged by their side list; fp8 saturates.
      const bool has_range = info.scaling != Scaling::kTensor && info.family != FormatFamily::kFp8;
      if (has_range && std::abs(value) > info.max_value) ++representability.out_of_range_count;
    }
  }
  if (info.scaling == Scaling::kTensor) {
    return PlanTensorScaled(format, rows, columns, representability, finite_magnitudes);
  }
  return {.representability = representability, .layout = LayoutOf(format, rows, columns)};
}

std::vector<uint32_t> SidePositions(WeightFormat format, int exponent_bias,
                                    std::span<const uint16_t> fp16) {
  const int64_t largest = MagnitudesAtBias(format, exponent_bias).back();
  std::vector<uint32_t> positions;
  for (size_t i = 0; i < fp16.size(); ++i) {
    if (MagnitudeInUnits(fp16[i]) > largest) positions.push_back(static_cast<uint32_t>(i));
  }
  return positions;
}

}  // namespace tightfit::reference
