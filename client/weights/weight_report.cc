#include "client/weights/weight_report.h"

#include "kernels/packed_layout.h"

#include <algorithm>
#include <tuple>

namespace tightfit::weights {
namespace {

constexpr int64_t kPieceWeights = 1 << 16;

}  // namespace

// Piece by piece; parts are merged in the order of the tensor, whichever thread made them.
Distortion MeasurePacked(const PackedLayout& layout, const uint8_t* packed,
                         const LoadedTensor& tensor, const ParallelFor& parallel_for) {
  const int64_t piece_columns = std::min(layout.columns, kPieceWeights);
  const int64_t piece_rows = std::max<int64_t>(1, kPieceWeights / piece_columns);
  const int64_t across = (layout.columns + piece_columns - 1) / piece_columns;
  const int64_t down = (layout.rows + piece_rows - 1) / piece_rows;
  std::vector<Distortion> parts(static_cast<size_t>(across * down));
  const auto measure = [&](int64_t begin, int64_t end) {
    std::vector<uint16_t> decoded(static_cast<size_t>(piece_rows * piece_columns));
    for (int64_t piece = begin; piece < end; ++piece) {
      DecodeRange range{.first_row = piece / across * piece_rows,
                        .first_column = piece % across * piece_columns};
      range.row_count = std::min(piece_rows, layout.rows - range.first_row);
      range.column_count = std::min(piece_columns, layout.columns - range.first_column);
      DecodeToFp16(layout, packed, range, decoded.data());
      // Of several rows a piece holds all columns, so that it is one run of the tensor.
      const auto count = static_cast<size_t>(range.row_count * range.column_count);
      const auto at = static_cast<size_t>(range.first_row * layout.columns + range.first_column);
      parts[static_cast<size_t>(piece)] =
          MeasureDistortion(std::span<const uint16_t>(tensor.fp16).subspan(at, count),
                            std::span<const uint16_t>(decoded).first(count));
    }
  };
  if (parallel_for) {
    parallel_for(across * down, 1, measure);
  } else {
    measure(0, across * down);
  }
  Distortion sum;
  for (const Distortion& part : parts) sum.Merge(part);
  return sum;
}

FormatCost MeasureFormat(WeightFormat format, const LoadedTensor& tensor,
                         const ParallelFor& parallel_for, const std::stop_token& stop) {
  FormatCost cost{.format = format};
  const EncodingPlan plan =
      PlanEncoding(format, tensor.rows, tensor.columns, tensor.fp16.data(), parallel_for);
  if (stop.stop_requested()) return cost;
  cost.representability = plan.representability;
  if (!cost.representability.ok()) {
    cost.stored_bytes = static_cast<int64_t>(tensor.fp16.size() * sizeof(uint16_t));
    cost.distortion = MeasureDistortion(std::span<const uint16_t>(tensor.fp16),
                                        std::span<const uint16_t>(tensor.fp16));
    return cost;
  }
  cost.stored_bytes = plan.layout.total_bytes;
  cost.exponent_bias = plan.layout.exponent_bias;
  cost.side_count = plan.layout.side_count;
  std::vector<uint8_t> packed(static_cast<size_t>(plan.layout.total_bytes));
  EncodeTensor(plan.layout, tensor.fp16.data(), packed.data(), parallel_for);
  if (stop.stop_requested()) return cost;
  cost.distortion = MeasurePacked(plan.layout, packed.data(), tensor, parallel_for);
  return cost;
}

void TotalCost::Add(const FormatCost& cost) {
  const bool is_packed = cost.representability.ok();
  weight_count += cost.distortion.weight_count;
  stored_bytes += cost.stored_bytes;
  side_count += cost.side_count;
  packed_tensor_count += is_packed ? 1 : 0;
  left_tensor_count += is_packed ? 0 : 1;
  left_weight_count += is_packed ? 0 : cost.distortion.weight_count;
  distortion.Merge(cost.distortion);
}

TotalCost TotalOfFormat(std::span<const TensorCost> tensors, size_t index) {
  TotalCost total;
  for (const TensorCost& tensor : tensors) total.Add(tensor.formats[index]);
  return total;
}

double BitsPerWeight(int64_t stored_bytes, int64_t weight_count) {
  if (weight_count == 0) return 0;
  return 8.0 * static_cast<double>(stored_bytes) / static_cast<double>(weight_count);
}

double BitsPerWeightOfSquare(WeightFormat format) {
  return BitsPerWeight(LayoutOf(format, kSquareSide, kSquareSide).total_bytes,
                       kSquareSide * kSquareSide);
}

bool IsInClass(const FormatInfo& info, int bits) {
  return bits - 1 < info.bits && info.bits <= bits &&
         BitsPerWeightOfSquare(info.format) - info.bits < 0.25;
}

std::optional<size_t> BestOfClass(const TensorCost& tensor, int bits) {
  std::optional<size_t> best;
  for (size_t i = 0; i < tensor.formats.size(); ++i) {
    const FormatCost& cost = tensor.formats[i];
    if (!IsInClass(InfoOf(cost.format), bits) || !cost.representability.ok()) continue;
    const auto rank = [](const FormatCost& of) {
      return std::tuple(of.distortion.noise_energy, of.stored_bytes);
    };
    if (!best.has_value() || rank(cost) < rank(tensor.formats[*best])) best = i;
  }
  return best;
}

std::optional<size_t> BestOfClass(std::span<const TensorCost> tensors, int bits) {
  if (tensors.empty()) return std::nullopt;
  std::optional<size_t> best;
  TotalCost best_total;
  for (size_t i = 0; i < tensors[0].formats.size(); ++i) {
    if (!IsInClass(InfoOf(tensors[0].formats[i].format), bits)) continue;
    const TotalCost total = TotalOfFormat(tensors, i);
    const auto rank = [](const TotalCost& of) {
      return std::tuple(of.left_weight_count, of.distortion.noise_energy, of.stored_bytes);
    };
    if (total.packed_tensor_count == 0 || (best.has_value() && rank(total) >= rank(best_total))) {
      continue;
    }
    best = i;
    best_total = total;
  }
  return best;
}

TotalCost TotalOfBest(std::span<const TensorCost> tensors, int bits) {
  TotalCost total;
  for (const TensorCost& tensor : tensors) {
    if (const auto best = BestOfClass(tensor, bits); best.has_value()) {
      total.Add(tensor.formats[*best]);
      continue;
    }
    // Some format of the class that refuses it; all cost the same then.
    for (const FormatCost& cost : tensor.formats) {
      if (!IsInClass(InfoOf(cost.format), bits)) continue;
      total.Add(cost);
      break;
    }
  }
  return total;
}

}  // namespace tightfit::weights
