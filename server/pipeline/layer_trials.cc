#include "server/pipeline/layer_trials.h"

#include "kernels/distortion.h"
#include "server/device/run_torch.h"
#include "server/pipeline/servable_directory.h"
#include "server/weights/component.h"
#include "server/weights/weight_encoding.h"
#include "server/weights/weight_source.h"
#include "server/weights/weight_store.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

namespace tightfit {
namespace {

constexpr const char* kUnet = "unet";

void InAllThreads(int64_t count, int64_t grain, const std::function<void(int64_t, int64_t)>& work) {
  at::parallel_for(0, count, grain, work);
}

at::Tensor Bytes(int64_t size_bytes) {
  return at::empty({size_bytes}, at::TensorOptions().dtype(at::kByte));
}

// How much of `original`'s energy is lost in `codes`.
double NoiseOf(const PackedLayout& layout, const uint16_t* original, const uint8_t* codes) {
  Distortion total;
  std::vector<uint16_t> decoded(static_cast<size_t>(layout.columns));
  for (int64_t row = 0; row < layout.rows; ++row) {
    DecodeToFp16(layout, codes, {row, 1, 0, layout.columns}, decoded.data());
    total.Merge(MeasureDistortion({original + row * layout.columns, decoded.size()}, decoded));
  }
  return total.signal_energy > 0.0 ? total.noise_energy / total.signal_energy : 0.0;
}

class SlotTrials final : public LayerTrials {
 public:
  SlotTrials(std::shared_ptr<Component> component, std::unique_ptr<WeightSource> source,
             const PackingScope& scope, std::string weights_sha256)
      : component_(std::move(component)),
        source_(std::move(source)),
        table_(source_->Table({WeightFormat::kE2m3r, scope, {}})),
        weights_sha256_(std::move(weights_sha256)) {
    for (WeightSlot& slot : component_->slots()) {
      if (slot.weight) slots_[slot.parameter.key] = &slot;
    }
    for (const WeightEntry& entry : table_.entries()) {
      if (!entry.format.has_value() || !slots_.contains(entry.tensor.name)) continue;
      layers_.emplace_back(ModuleOf(entry.tensor.name));
      entries_[layers_.back()] = &entry;
    }
  }

  ~SlotTrials() override { Restore(); }

  const std::vector<std::string>& layers() const override { return layers_; }
  const std::string& weights_sha256() const override { return weights_sha256_; }

  Result<std::optional<double>> Pack(const std::string& layer, WeightFormat format) override {
    return Encode(
        layer, format, [&](const WeightEntry& entry, const PackedLayout& layout, at::Tensor codes) {
          Weight packed;
          packed.SetPacked(layout, entry.tensor.shape, std::move(codes));
          Weight& held = *slots_.at(entry.tensor.name)->weight;
          held.Swap(packed);
          replaced_.emplace(&held, std::move(packed));  // what was loaded, unless packed twice
        });
  }

  Result<std::optional<double>> MeasureNoise(const std::string& layer,
                                             WeightFormat format) override {
    return Encode(layer, format, [](const WeightEntry&, const PackedLayout&, const at::Tensor&) {});
  }

  void Restore() override {
    for (auto& [held, loaded] : replaced_) held->Swap(loaded);
    replaced_.clear();
  }

 private:
  // `use` gets the codes.
  template <typename Use>
  Result<std::optional<double>> Encode(const std::string& layer, WeightFormat format,
                                       const Use& use) {
    const auto found = entries_.find(layer);
    if (found == entries_.end()) return InvalidArgument("the UNet has no layer \"" + layer + "\"");
    WeightEntry entry = *found->second;
    entry.format = format;
    std::optional<double> noise;
    TF_RETURN_IF_ERROR(RunTorch("pack a layer", [&]() -> Status {
      const at::Tensor values = Bytes(entry.tensor.size_bytes);
      TF_RETURN_IF_ERROR(source_->safetensors()->reader().ReadAt(
          entry.tensor.offset_bytes, entry.tensor.size_bytes, values.mutable_data_ptr()));
      const EncodingScratch needed = EncodingScratchOf(entry);
      const at::Tensor fp16 = Bytes(needed.fp16_bytes);
      const at::Tensor channels_last = Bytes(needed.channels_last_bytes);
      const ParallelFor parallel_for = InAllThreads;
      const WeightEncoding encoding(entry, values.const_data_ptr(), fp16.mutable_data_ptr(),
                                    channels_last.mutable_data_ptr(), parallel_for);
      if (!encoding.why_not().empty()) return OkStatus();
      at::Tensor codes = Bytes(encoding.layout().total_bytes);
      encoding.Encode(codes.mutable_data_ptr<uint8_t>());
      noise = NoiseOf(encoding.layout(), encoding.in_code_order(), codes.data_ptr<uint8_t>());
      use(entry, encoding.layout(), std::move(codes));
      return OkStatus();
    }));
    return noise;
  }

  const std::shared_ptr<Component> component_;
  const std::unique_ptr<WeightSource> source_;
  const WeightTable table_;
  const std::string weights_sha256_;
  std::map<std::string_view, WeightSlot*> slots_;  // by the tensor's name
  std::vector<std::string> layers_;
  std::map<std::string, const WeightEntry*, std::less<>> entries_;  // by layer
  std::map<Weight*, Weight> replaced_;
};

}  // namespace

Result<std::unique_ptr<LayerTrials>> LayerTrials::Open(DeviceRuntime& runtime,
                                                       const ModelSpec& spec) {
  TF_ASSIGN_OR_RETURN(const ServableDirectory servable,
                      OpenServableDirectory(spec, runtime.device()));
  ComponentOptions options = ComponentOptionsOf(spec, servable, kUnet);
  TF_ASSIGN_OR_RETURN(options.owner, ContentKeyOf(servable.directory, options));
  const ManifestComponent& unet = servable.directory.components.at(kUnet);
  TF_ASSIGN_OR_RETURN(std::unique_ptr<WeightSource> source,
                      WeightSource::Open(servable.directory, unet, ""));
  if (source->safetensors() == nullptr || options.format != kUnpackedFormat ||
      !servable.device.is_cpu()) {
    return Status(StatusCode::kFailedPrecondition, "NOT_UNPACKED",
                  "layers are packed one by one in unpacked models only: name the directory that "
                  "the model was packed from");
  }
  // The one that the model holds.
  TF_ASSIGN_OR_RETURN(std::shared_ptr<Component> component,
                      runtime.weights().Acquire(servable.directory, options, {}));
  return std::unique_ptr<LayerTrials>(std::make_unique<SlotTrials>(
      std::move(component), std::move(source), options.scope, unet.weights.sha256));
}

}  // namespace tightfit
