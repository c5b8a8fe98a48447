#include "server/weights/weight_loader.h"

#include "server/base/load_stop.h"
#include "server/model/model_errors.h"
#include "server/model/sha256.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cstdio>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace tightfit {
namespace {

at::ScalarType ScalarTypeOf(StoredDtype dtype) {
  switch (dtype) {
    case StoredDtype::kF16:
      return at::kHalf;
    case StoredDtype::kBF16:
      return at::kBFloat16;
    case StoredDtype::kF32:
      return at::kFloat;
  }
  return at::kFloat;
}

// Reads and hashes the file's tensors in order.
class HashingReader {
 public:
  HashingReader(const SafetensorsFile& file, const std::function<bool(int64_t)>& progress)
      : file_(file), progress_(progress) {
    sha256_.Update(file.header_bytes().data(), file.header_bytes().size());
    static_cast<void>(Report(static_cast<int64_t>(file.header_bytes().size())));
  }

  Status Read(const StoredTensor& tensor, void* out) {
    TF_RETURN_IF_ERROR(file_.reader().ReadAt(tensor.offset_bytes, tensor.size_bytes, out));
    sha256_.Update(out, static_cast<size_t>(tensor.size_bytes));
    return Report(tensor.size_bytes) ? OkStatus() : LoadStopped();
  }

  Status CheckDigest(const std::string& expected) {
    if (expected.empty()) return OkStatus();
    const std::string found = sha256_.HexDigest();
    return found == expected ? OkStatus() : ChecksumMismatch(file_.name(), expected, found);
  }

 private:
  // Whether the load goes on.
  bool Report(int64_t bytes) { return !progress_ || progress_(bytes); }

  const SafetensorsFile& file_;
  const std::function<bool(int64_t)>& progress_;
  Sha256 sha256_;
};

// Rows of [C, R*S] become rows of [R*S, C].
void PutChannelsLast(const StoredTensor& tensor, const uint16_t* from, uint16_t* to) {
  const int64_t channels = tensor.shape[1];
  const int64_t taps = tensor.shape[2] * tensor.shape[3];
  const int64_t columns = channels * taps;
  at::parallel_for(0, tensor.shape[0], 1, [&](int64_t begin, int64_t end) {
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

bool NeedsChannelsLast(const WeightEntry& entry) {
  const StoredTensor& tensor = entry.tensor;
  return entry.format.has_value() && entry.kind == LayerKind::kConv2d && tensor.shape.size() == 4 &&
         tensor.shape[2] * tensor.shape[3] > 1;
}

bool NeedsFp16(const WeightEntry& entry) {
  return entry.format.has_value() && entry.tensor.dtype == StoredDtype::kBF16;
}

void ToFp16(int64_t count, const c10::BFloat16* from, c10::Half* to) {
  constexpr int64_t kGrain = 1 << 16;
  at::parallel_for(0, count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) to[i] = static_cast<float>(from[i]);
  });
}

at::Tensor NewBytes(int64_t size_bytes) {
  return at::empty({size_bytes}, at::TensorOptions().dtype(at::kByte));
}

std::string Counted(int64_t count, const std::string& one, const std::string& many) {
  return std::to_string(count) + " " + (count == 1 ? one : many);
}

std::string Decimal(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%g", value);
  return text;
}

using SlotsByKey = std::unordered_map<std::string_view, WeightSlot*>;

class Loading {
 public:
  Loading(const SafetensorsFile& file, const WeightTable& table, const LoadOptions& options,
          const std::function<bool(int64_t)>& progress)
      : table_(table), options_(options), reader_(file, progress) {}

  // `slots` by the names of their tensors.
  Status Run(const std::string& sha256, const SlotsByKey& slots) {
    MakeStaging();
    const ScopedMemoryAccount account(options_.weights);
    for (const WeightEntry& entry : table_.entries()) {
      TF_RETURN_IF_ERROR(reader_.Read(entry.tensor, staging_.mutable_data_ptr()));
      const auto slot = slots.find(entry.tensor.name);
      if (slot != slots.end()) Fill(entry, slot->second);
    }
    return reader_.CheckDigest(sha256);
  }

  // Why a weight of the scope is not packed, by its name.
  const std::unordered_map<std::string_view, std::string>& unpacked() const { return unpacked_; }
  LoadReport& report() { return report_; }

 private:
  void MakeStaging() {
    int64_t largest = 0;
    int64_t largest_channels_last = 0;
    int64_t largest_fp16 = 0;
    for (const WeightEntry& entry : table_.entries()) {
      const int64_t size_bytes = entry.tensor.size_bytes;
      largest = std::max(largest, size_bytes);
      if (NeedsChannelsLast(entry))
        largest_channels_last = std::max(largest_channels_last, size_bytes);
      if (NeedsFp16(entry)) largest_fp16 = std::max(largest_fp16, size_bytes);
    }
    const ScopedMemoryAccount account(options_.scratch);
    staging_ = NewBytes(largest);
    channels_last_ = NewBytes(largest_channels_last);
    fp16_ = NewBytes(largest_fp16);
  }

  void Fill(const WeightEntry& entry, WeightSlot* slot) {
    const StoredTensor& tensor = entry.tensor;
    std::string why_dense = entry.why_dense;
    if (entry.format.has_value()) {
      why_dense = slot->weight ? Pack(entry, slot) : slot->parameter.why_plain;
      if (slot->weight && why_dense.empty()) return;
    }
    if (!why_dense.empty()) unpacked_[tensor.name] = std::move(why_dense);
    const at::Tensor stored =
        at::from_blob(staging_.mutable_data_ptr(), tensor.shape, ScalarTypeOf(tensor.dtype));
    if (options_.device.is_cpu()) {
      slot->SetDense(stored.to(options_.dtype, /*non_blocking=*/false, /*copy=*/true));
    } else {
      slot->SetDense(stored.to(options_.dtype).to(options_.device));
    }
  }

  // Why not; empty once it is.
  std::string Pack(const WeightEntry& entry, WeightSlot* slot) {
    const StoredTensor& tensor = entry.tensor;
    const void* values = staging_.const_data_ptr();
    if (NeedsFp16(entry)) {
      ToFp16(tensor.element_count, static_cast<const c10::BFloat16*>(values),
             static_cast<c10::Half*>(fp16_.mutable_data_ptr()));
      values = fp16_.const_data_ptr();
    }
    const auto* fp16 = static_cast<const uint16_t*>(values);
    EncodingPlan plan;
    std::string why_not = WhyNotPackable(*entry.format, tensor, fp16, &plan);
    if (!why_not.empty()) return why_not;
    if (NeedsChannelsLast(entry)) {
      auto* const ordered = static_cast<uint16_t*>(channels_last_.mutable_data_ptr());
      PutChannelsLast(tensor, fp16, ordered);
      fp16 = ordered;
    }
    at::Tensor codes = EncodeWeight(plan.layout, fp16);
    report_.packed_bytes += codes.numel();
    report_.packed_parameter_count += tensor.element_count;
    report_.packed_module_count += 1;
    report_.largest_decoded_bytes =
        std::max(report_.largest_decoded_bytes,
                 tensor.element_count * static_cast<int64_t>(c10::elementSize(options_.dtype)));
    slot->weight->SetPacked(
        plan.layout, tensor.shape,
        options_.device.is_cpu() ? std::move(codes) : codes.to(options_.device));
    return {};
  }

  const WeightTable& table_;
  const LoadOptions& options_;
  HashingReader reader_;
  at::Tensor staging_;
  at::Tensor channels_last_;
  at::Tensor fp16_;
  std::unordered_map<std::string_view, std::string> unpacked_;
  LoadReport report_;
};

// Errors: BAD_MODEL_DIRECTORY for a slot that has no tensor, or one that it cannot take.
Result<SlotsByKey> ByKey(const SafetensorsFile& file, std::vector<WeightSlot>& slots) {
  SlotsByKey missing;
  for (WeightSlot& slot : slots) missing[slot.parameter.key] = &slot;
  SlotsByKey by_key = missing;
  for (const StoredTensor& tensor : file.tensors()) {
    const auto slot = missing.find(tensor.name);
    if (slot == missing.end()) continue;
    const size_t rank = slot->second->parameter.kind == LayerKind::kConv2d ? 4 : 2;
    if (slot->second->weight && tensor.shape.size() != rank) {
      return BadModelDirectory(
          file.name(), "\"" + tensor.name + "\" must have " + std::to_string(rank) + " dimensions");
    }
    missing.erase(slot);
  }
  if (missing.empty()) return by_key;
  return BadModelDirectory(
      file.name(),
      "the graph's parameter \"" + std::string(missing.begin()->first) + "\" has no tensor");
}

// Clears the slots unless told that all went well, also when LibTorch throws.
class ClearOnFailure {
 public:
  explicit ClearOnFailure(std::vector<WeightSlot>* slots) : slots_(slots) {}
  ~ClearOnFailure() {
    if (slots_ != nullptr) ClearWeights(*slots_);
  }
  ClearOnFailure(const ClearOnFailure&) = delete;
  ClearOnFailure& operator=(const ClearOnFailure&) = delete;
  void Keep() { slots_ = nullptr; }

 private:
  std::vector<WeightSlot>* slots_;
};

}  // namespace

std::string WhyNotPackable(WeightFormat format, const StoredTensor& tensor, const uint16_t* fp16,
                           EncodingPlan* plan) {
  *plan = PlanWeight(format, tensor.shape, fp16);
  const Representability& counts = plan->representability;
  if (counts.ok()) return {};
  std::string why;
  const auto append = [&why](const std::string& part) { why += (why.empty() ? "" : ", ") + part; };
  if (counts.nan_count > 0) append(std::to_string(counts.nan_count) + " NaN");
  if (counts.infinity_count > 0) append(Counted(counts.infinity_count, "infinity", "infinities"));
  if (counts.out_of_range_count > 0) {
    const FormatInfo& info = InfoOf(format);
    append(Counted(counts.out_of_range_count, "value", "values") + " above the largest value " +
           Decimal(info.max_value) + " of " + std::string(info.name));
  }
  return why;
}

Result<LoadReport> LoadWeights(const SafetensorsFile& file, const std::string& sha256,
                               const WeightTable& table, std::vector<WeightSlot>& slots,
                               const LoadOptions& options,
                               const std::function<bool(int64_t)>& progress) {
  TF_ASSIGN_OR_RETURN(const SlotsByKey by_key, ByKey(file, slots));
  ClearOnFailure clear_on_failure(&slots);
  Loading loading(file, table, options, progress);
  TF_RETURN_IF_ERROR(loading.Run(sha256, by_key));
  clear_on_failure.Keep();
  for (const WeightSlot& slot : slots) {
    const auto unpacked = loading.unpacked().find(slot.parameter.key);
    if (unpacked == loading.unpacked().end()) continue;
    loading.report().unpacked_modules.push_back({slot.parameter.module, unpacked->second});
  }
  return std::move(loading.report());
}

}  // namespace tightfit
