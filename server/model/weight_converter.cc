#include "server/model/weight_converter.h"

#include "server/base/load_stop.h"
#include "server/model/model_errors.h"
#include "server/model/packed_weight.h"
#include "server/model/sha256.h"

#include <ATen/Parallel.h>

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

bool NeedsChannelsLast(const ParameterSlot& slot, const StoredTensor& tensor) {
  return slot.kind == LayerKind::kConv2d && slot.is_packable() && tensor.shape.size() == 4 &&
         tensor.shape[2] * tensor.shape[3] > 1;
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

using SlotsByKey = std::unordered_map<std::string_view, ParameterSlot*>;

class Conversion {
 public:
  Conversion(const SafetensorsFile& file, const ConversionOptions& options,
             const std::function<bool(int64_t)>& progress)
      : options_(options), reader_(file, progress) {}

  // `slots` by the names of their tensors.
  Status Run(const SafetensorsFile& file, const std::string& sha256, const SlotsByKey& slots) {
    int64_t largest = 0;
    int64_t largest_channels_last = 0;
    for (const StoredTensor& tensor : file.tensors()) {
      largest = std::max(largest, tensor.size_bytes);
      const auto slot = slots.find(tensor.name);
      if (slot == slots.end() || !NeedsChannelsLast(*slot->second, tensor)) continue;
      largest_channels_last = std::max(largest_channels_last, tensor.size_bytes);
    }
    {
      const ScopedMemoryAccount account(options_.scratch);
      staging_ = NewBytes(largest);
      channels_last_ = NewBytes(largest_channels_last);
    }
    const ScopedMemoryAccount account(options_.weights);
    for (const StoredTensor& tensor : file.tensors()) {
      TF_RETURN_IF_ERROR(reader_.Read(tensor, staging_.mutable_data_ptr()));
      const auto slot = slots.find(tensor.name);
      if (slot != slots.end()) Fill(tensor, slot->second);
    }
    return reader_.CheckDigest(sha256);
  }

  ConversionReport& report() { return report_; }

 private:
  void Fill(const StoredTensor& tensor, ParameterSlot* slot) {
    if (options_.format.has_value() && slot->is_packable()) {
      const auto* fp16 = static_cast<const uint16_t*>(staging_.const_data_ptr());
      EncodingPlan plan;
      slot->unpackable = WhyNotPackable(*options_.format, tensor, fp16, &plan);
      if (slot->unpackable.empty()) {
        FillPacked(plan.layout, tensor, fp16, slot);
        return;
      }
    }
    const at::Tensor stored =
        at::from_blob(staging_.mutable_data_ptr(), tensor.shape, ScalarTypeOf(tensor.dtype));
    if (options_.device.is_cpu()) {
      slot->Set(stored.to(options_.dtype, /*non_blocking=*/false, /*copy=*/true));
    } else {
      slot->Set(stored.to(options_.dtype).to(options_.device));
    }
  }

  void FillPacked(const PackedLayout& layout, const StoredTensor& tensor, const uint16_t* fp16,
                  ParameterSlot* slot) {
    if (NeedsChannelsLast(*slot, tensor)) {
      auto* const ordered = static_cast<uint16_t*>(channels_last_.mutable_data_ptr());
      PutChannelsLast(tensor, fp16, ordered);
      fp16 = ordered;
    }
    at::Tensor packed = PackWeight(layout, tensor.shape, fp16);
    report_.packed_bytes += packed.numel();
    report_.packed_parameter_count += tensor.element_count;
    report_.packed_module_count += 1;
    report_.largest_decoded_bytes =
        std::max(report_.largest_decoded_bytes,
                 tensor.element_count * static_cast<int64_t>(c10::elementSize(options_.dtype)));
    slot->Set(options_.device.is_cpu() ? std::move(packed)
                                       : CopyPackedWeight(packed, options_.device));
  }

  const ConversionOptions& options_;
  HashingReader reader_;
  at::Tensor staging_;
  at::Tensor channels_last_;
  ConversionReport report_;
};

Result<SlotsByKey> ByKey(const SafetensorsFile& file, std::vector<ParameterSlot>& slots) {
  SlotsByKey by_key;
  for (ParameterSlot& slot : slots) by_key[slot.key] = &slot;
  size_t found = 0;
  for (const StoredTensor& tensor : file.tensors()) found += by_key.count(tensor.name);
  if (found == by_key.size()) return by_key;
  for (const StoredTensor& tensor : file.tensors()) by_key.erase(tensor.name);
  return BadModelDirectory(
      file.name(),
      "the graph's parameter \"" + std::string(by_key.begin()->first) + "\" has no tensor");
}

// Clears the slots unless told that all went well, also when LibTorch throws.
class ClearOnFailure {
 public:
  explicit ClearOnFailure(std::vector<ParameterSlot>* slots) : slots_(slots) {}
  ~ClearOnFailure() {
    if (slots_ != nullptr) ClearWeights(*slots_);
  }
  ClearOnFailure(const ClearOnFailure&) = delete;
  ClearOnFailure& operator=(const ClearOnFailure&) = delete;
  void Keep() { slots_ = nullptr; }

 private:
  std::vector<ParameterSlot>* slots_;
};

}  // namespace

std::string WhyNotPackable(WeightFormat format, const StoredTensor& tensor, const uint16_t* fp16,
                           EncodingPlan* plan) {
  if (tensor.dtype == StoredDtype::kF32) return "stored as fp32: out of fp16's range";
  if (tensor.dtype == StoredDtype::kBF16) return "stored as bf16, not as fp16";
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

Result<ConversionReport> LoadWeights(const SafetensorsFile& file, const std::string& sha256,
                                     std::vector<ParameterSlot>& slots,
                                     const ConversionOptions& options,
                                     const std::function<bool(int64_t)>& progress) {
  TF_ASSIGN_OR_RETURN(const SlotsByKey by_key, ByKey(file, slots));
  ClearOnFailure clear_on_failure(&slots);
  Conversion conversion(file, options, progress);
  TF_RETURN_IF_ERROR(conversion.Run(file, sha256, by_key));
  clear_on_failure.Keep();
  for (const ParameterSlot& slot : slots) {
    if (!options.format.has_value() || !slot.in_scope || slot.unpackable.empty()) continue;
    conversion.report().unpacked_modules.push_back({slot.module, slot.unpackable});
  }
  return std::move(conversion.report());
}

int64_t MoveWeights(std::vector<ParameterSlot>& slots, at::Device device) {
  std::vector<at::Tensor> copies;
  int64_t bytes = 0;
  for (const ParameterSlot& slot : slots) {
    const at::Tensor held = slot.owner.attr(slot.attribute).toTensor();
    copies.push_back(held.scalar_type() == at::kByte ? CopyPackedWeight(held, device)
                                                     : held.to(device));
    bytes += static_cast<int64_t>(copies.back().nbytes());
  }
  for (size_t i = 0; i < slots.size(); ++i) slots[i].Set(std::move(copies[i]));
  return bytes;
}

void ClearWeights(std::vector<ParameterSlot>& slots) {
  for (ParameterSlot& slot : slots) {
    const at::Tensor held = slot.owner.attr(slot.attribute).toTensor();
    // The dtype of a packed weight is no one's promise; the graph never reads an empty one.
    slot.Set(at::empty({0}, held.options()));
  }
}

}  // namespace tightfit
