// PlanEncoding: whether a format takes a tensor, and the exponent bias of tensor-scaled floats.
#include "kernels/codec.h"
#include "kernels/codec_cpu.h"
#include "kernels/fp16.h"
#include "kernels/side_list.h"

#include <hwy/base.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <vector>

namespace tightfit {
namespace {

constexpr int64_t kWeightsPerTask = 1 << 16;
constexpr int64_t kWeightsPerSideListEntry = 1000;  // at least: 0.1 %

void InPieces(const ParallelFor& parallel_for, int64_t count,
              const std::function<void(int64_t, int64_t)>& work) {
  if (parallel_for) {
    parallel_for(count, kWeightsPerTask, work);
  } else if (count > 0) {
    work(0, count);
  }
}

// The largest fp16 magnitude, as a pattern, that is not above `value`.
uint16_t LargestPatternUpTo(double value) {
  const uint16_t nearest = Fp16OfFp32(static_cast<float>(value));
  return Fp32OfFp16(nearest) > value ? nearest - 1 : nearest;
}

Representability CountMisses(uint16_t largest, const uint16_t* fp16, int64_t count,
                             const ParallelFor& parallel_for) {
  Representability total;
  std::mutex mutex;
  InPieces(parallel_for, count, [&](int64_t begin, int64_t end) {
    const Representability part = cpu::CountUnrepresentable(largest, fp16 + begin, end - begin);
    const std::lock_guard lock(mutex);
    total.nan_count += part.nan_count;
    total.infinity_count += part.infinity_count;
    total.out_of_range_count += part.out_of_range_count;
  });
  return total;
}

// How often each fp16 magnitude occurs, by its pattern.
using MagnitudeCounts = std::vector<int64_t>;

MagnitudeCounts CountMagnitudes(const uint16_t* fp16, int64_t count,
                                const ParallelFor& parallel_for) {
  MagnitudeCounts total(0x8000);
  std::mutex mutex;
  InPieces(parallel_for, count, [&](int64_t begin, int64_t end) {
    std::vector<uint32_t> part(0x8000);  // a tensor has fewer than 2^32 weights
    for (int64_t i = begin; i < end; ++i) ++part[fp16[i] & 0x7FFF];
    const std::lock_guard lock(mutex);
    for (size_t i = 0; i < part.size(); ++i) total[i] += part[i];
  });
  return total;
}

int64_t CountAbove(const MagnitudeCounts& counts, uint16_t largest) {
  int64_t above = 0;
  for (size_t i = largest + 1; i < kFp16Infinity; ++i) above += counts[i];
  return above;
}

// Exact: at any bias that formats have, all values are whole numbers of 2^-24, and so are errors.
__extension__ using Exact = unsigned __int128;

Exact SquaredError(const MagnitudeCounts& counts, const FormatInfo& info, int exponent_bias,
                   uint16_t largest) {
  Exact sum = 0;
  for (int pattern = 1; pattern <= largest; ++pattern) {
    if (counts[pattern] == 0) continue;
    const int field = std::max(pattern >> 10, 1);
    const int64_t units = int64_t{pattern < 0x400 ? pattern : (pattern & 0x3FF) | 0x400}
                          << (field - 1);
    const int step_exponent = std::max(field - 15, 1 - exponent_bias) - info.mantissa_bits + 24;
    if (step_exponent <= 0) continue;
    const int64_t step = int64_t{1} << step_exponent;
    const int64_t below = units & (step - 1);
    const auto error = static_cast<uint64_t>(std::min(below, step - below));
    sum += Exact{error} * error * static_cast<uint64_t>(counts[pattern]);
  }
  return sum;
}

// Where nothing lies beyond the largest value at the next bias up, that bias has every value of
// this one in reach and more: its error is no larger. So the search begins at the last bias without
// a side list, and ends where the list would be too long.
void ChooseBias(const MagnitudeCounts& counts, int64_t weights, EncodingPlan* plan) {
  const PackedLayout unplanned = plan->layout;
  const FormatInfo& info = InfoOf(unplanned.format);
  int bias = 0;
  while (bias < LargestExponentBias(info) &&
         CountAbove(counts, LargestMagnitudeAt(info, bias + 1)) == 0) {
    ++bias;
  }
  bool found = false;
  Exact least = 0;
  for (; bias <= LargestExponentBias(info); ++bias) {
    const uint16_t largest = LargestMagnitudeAt(info, bias);
    const int64_t side_count = CountAbove(counts, largest);
    if (side_count * kWeightsPerSideListEntry > weights) {
      if (!found) plan->representability.out_of_range_count = side_count;
      return;
    }
    const Exact error = SquaredError(counts, info, bias, largest);
    if (found && (error > least || (error == least && side_count > plan->layout.side_count))) {
      continue;
    }
    found = true;
    least = error;
    plan->layout = LayoutOf(unplanned.format, unplanned.rows, unplanned.columns, bias, side_count);
  }
}

}  // namespace

EncodingPlan PlanEncoding(WeightFormat format, int64_t rows, int64_t columns, const uint16_t* fp16,
                          const ParallelFor& parallel_for) {
  const FormatInfo& info = InfoOf(format);
  EncodingPlan plan{.representability = {}, .layout = LayoutOf(format, rows, columns)};
  const int64_t weights = rows * columns;
  if (info.scaling != Scaling::kTensor) {
    const bool saturates = info.family == FormatFamily::kFp8;
    const uint16_t largest = saturates ? kFp16Infinity - 1 : LargestPatternUpTo(info.max_value);
    plan.representability = CountMisses(largest, fp16, weights, parallel_for);
    return plan;
  }
  const MagnitudeCounts counts = CountMagnitudes(fp16, weights, parallel_for);
  plan.representability.infinity_count = counts[kFp16Infinity];
  for (size_t i = kFp16Infinity + 1; i < counts.size(); ++i) {
    plan.representability.nan_count += counts[i];
  }
  if (plan.representability.ok()) ChooseBias(counts, weights, &plan);
  return plan;
}

}  // namespace tightfit
