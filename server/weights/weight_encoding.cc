#include "server/weights/weight_encoding.h"

#include "kernels/fp16.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <functional>

namespace tightfit {
namespace {

// Rows of [C, R*S] become rows of [R*S, C].
void PutChannelsLast(const StoredTensor& tensor, const uint16_t* from, uint16_t* to,
                     const ParallelFor& parallel_for) {
  const int64_t channels = tensor.shape[1];
  const int64_t taps = tensor.shape[2] * tensor.shape[3];
  const int64_t columns = channels * taps;
  parallel_for(tensor.shape[0], 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const uint16_t* const in = from + row * columns;
      uint16_t* const out = to + row * columns;
      for (int64_t channel = 0; channel < channels; ++channel) {
        for (int64_t tap = 0; tap < taps; ++tap) {
          out[tap * channels + channel] = in[channel * taps + tap];
        }
      }
    }
  });
}

void Bf16ToFp16(int64_t count, const uint16_t* bf16, uint16_t* fp16,
                const ParallelFor& parallel_for) {
  constexpr int64_t kGrain = 1 << 16;
  parallel_for(count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      fp16[i] = Fp16OfFp32(std::bit_cast<float>(static_cast<uint32_t>(bf16[i]) << 16));
    }
  });
}

void Here(int64_t count, int64_t, const std::function<void(int64_t, int64_t)>& work) {
  work(0, count);
}

std::string Counted(int64_t count, const std::string& one, const std::string& many) {
  return std::to_string(count) + " " + (count == 1 ? one : many);
}

std::string Decimal(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%g", value);
  return text;
}

std::string WhyNot(const Representability& counts, const FormatInfo& info) {
  std::string why;
  const auto append = [&why](const std::string& part) { why += (why.empty() ? "" : ", ") + part; };
  if (counts.nan_count > 0) append(std::to_string(counts.nan_count) + " NaN");
  if (counts.infinity_count > 0) append(Counted(counts.infinity_count, "infinity", "infinities"));
  if (counts.out_of_range_count > 0) {
    append(Counted(counts.out_of_range_count, "value", "values") + " above the largest value " +
           Decimal(info.max_value) + " of " + std::string(info.name));
  }
  return why;
}

bool NeedsChannelsLast(const WeightEntry& entry) {
  const StoredTensor& tensor = entry.tensor;
  return entry.kind == LayerKind::kConv2d && tensor.shape.size() == 4 &&
         tensor.shape[2] * tensor.shape[3] > 1;
}

}  // namespace

EncodingScratch EncodingScratchOf(const WeightEntry& entry) {
  if (!entry.format.has_value()) return {};
  const int64_t size_bytes = entry.tensor.size_bytes;
  return {.fp16_bytes = entry.tensor.dtype == StoredDtype::kBF16 ? size_bytes : 0,
          .channels_last_bytes = NeedsChannelsLast(entry) ? size_bytes : 0};
}

TableScratch TableScratchOf(const WeightTable& table) {
  TableScratch scratch;
  for (const WeightEntry& entry : table.entries()) {
    const EncodingScratch needed = EncodingScratchOf(entry);
    EncodingScratch& most = scratch.encoding;
    scratch.tensor_bytes = std::max(scratch.tensor_bytes, entry.tensor.size_bytes);
    most.fp16_bytes = std::max(most.fp16_bytes, needed.fp16_bytes);
    most.channels_last_bytes = std::max(most.channels_last_bytes, needed.channels_last_bytes);
  }
  return scratch;
}

WeightEncoding::WeightEncoding(const WeightEntry& entry, const void* values, void* fp16,
                               void* channels_last, const ParallelFor& parallel_for)
    : parallel_for_(parallel_for ? parallel_for : ParallelFor(Here)) {
  const StoredTensor& tensor = entry.tensor;
  const auto* patterns = static_cast<const uint16_t*>(values);
  if (tensor.dtype == StoredDtype::kBF16) {
    auto* const converted = static_cast<uint16_t*>(fp16);
    Bf16ToFp16(tensor.element_count, patterns, converted, parallel_for_);
    patterns = converted;
  }
  const int64_t rows = tensor.shape[0];
  plan_ = PlanEncoding(*entry.format, rows, rows == 0 ? 0 : tensor.element_count / rows, patterns,
                       parallel_for_);
  why_not_ = WhyNot(plan_.representability, InfoOf(*entry.format));
  if (!why_not_.empty()) return;
  if (NeedsChannelsLast(entry)) {
    auto* const ordered = static_cast<uint16_t*>(channels_last);
    PutChannelsLast(tensor, patterns, ordered, parallel_for_);
    patterns = ordered;
  }
  in_code_order_ = patterns;
}

void WeightEncoding::Encode(uint8_t* codes) const {
  EncodeTensor(plan_.layout, in_code_order_, codes, parallel_for_);
}

}  // namespace tightfit
