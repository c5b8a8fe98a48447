#include "server/weights/component.h"

#include "kernels/format.h"
#include "server/base/component_formats.h"
#include "server/device/run_torch.h"
#include "server/model/model_errors.h"
#include "server/model/sha256.h"
#include "server/model/torchscript_archive.h"
#include "server/weights/decode_product.h"
#include "server/weights/weight_source.h"

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

namespace tightfit {
namespace {

const char* DtypeName(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat:
      return "fp32";
    case at::kBFloat16:
      return "bf16";
    case at::kHalf:
      return "fp16";
    default:
      return "unknown";
  }
}

// The manifest's entry and graph for these options, and the format where one is asked for.
struct Sources {
  const ManifestComponent* component = nullptr;
  const ListedFile* graph = nullptr;
  std::optional<WeightFormat> format;
};

Result<Sources> FindSources(const ModelDirectory& directory, const ComponentOptions& options) {
  const auto component = directory.components.find(options.component);
  if (component == directory.components.end()) {
    return BadModelDirectory("model.json", "components." + options.component + " is missing");
  }
  const auto graph = component->second.graphs.find(DtypeName(options.dtype));
  if (graph == component->second.graphs.end()) {
    return BadModelDirectory("model.json", "components." + options.component +
                                               ".graphs has no graph in " +
                                               DtypeName(options.dtype) + "; export it again");
  }
  Sources sources{&component->second, &graph->second, FormatByName(options.format)};
  const bool is_mixed = options.format == kMixedFormat && sources.component->packed.has_value();
  if (!sources.format.has_value() && options.format != kUnpackedFormat && !is_mixed) {
    return InvalidArgument("format \"" + options.format + "\" is unknown");
  }
  if (!IsPackingScope(options.scope.name)) {
    return InvalidArgument("scope \"" + options.scope.name + "\" is unknown");
  }
  return sources;
}

LoadOptions LoadOptionsOf(const ComponentOptions& options) {
  MemoryAccounts& accounts = MemoryAccounts::Instance();
  return {.dtype = options.dtype,
          .device = options.device,
          .weights = accounts.Get(options.owner, options.component, MemoryPurpose::kWeights),
          .scratch = accounts.Get(options.owner, options.component, MemoryPurpose::kScratch)};
}

// Nothing tells what another file's digest should be.
std::string DigestOf(const Sources& sources, const ComponentOptions& options) {
  return options.weights_path.empty() ? sources.component->weights.sha256 : std::string();
}

// Whether the weights are read as they are packed.
bool IsPacked(const Sources& sources, const ComponentOptions& options) {
  return sources.component->packed.has_value() && options.weights_path.empty();
}

// The format of the packed weights, "mixed" of several.
std::string FormatNameOf(const WeightTable& table) {
  std::optional<WeightFormat> format;
  for (const WeightEntry& entry : table.entries()) {
    if (!entry.format.has_value()) continue;
    if (format.has_value() && *format != *entry.format) return kMixedFormat;
    format = entry.format;
  }
  return format.has_value() ? std::string(InfoOf(*format).name) : kUnpackedFormat;
}

int64_t ParameterCount(const WeightTable& table, const std::vector<WeightSlot>& slots) {
  std::unordered_map<std::string_view, int64_t> counts;
  for (const WeightEntry& entry : table.entries()) {
    counts[entry.tensor.name] = entry.tensor.element_count;
  }
  int64_t total = 0;
  for (const WeightSlot& slot : slots) total += counts[slot.parameter.key];
  return total;
}

std::shared_ptr<const std::vector<LayerDescription>> LayersOf(const std::vector<WeightSlot>& slots,
                                                              const WeightTable& table,
                                                              at::ScalarType dtype) {
  std::unordered_map<std::string_view, const WeightEntry*> streamed;
  for (const WeightEntry& entry : table.entries()) {
    if (entry.is_streamed) streamed[entry.tensor.name] = &entry;
  }
  auto layers = std::make_shared<std::vector<LayerDescription>>();
  for (const WeightSlot& slot : slots) {
    if (!slot.weight) continue;
    if (const auto found = streamed.find(slot.parameter.key); found != streamed.end()) {
      const WeightEntry& entry = *found->second;
      layers->push_back({.module = slot.parameter.module,
                         .format = entry.format.has_value()
                                       ? std::string(InfoOf(*entry.format).name)
                                       : DtypeName(dtype),
                         .parameter_count = entry.tensor.element_count,
                         .weight_bytes = 0});
      continue;
    }
    const Weight& weight = *slot.weight;
    layers->push_back({.module = slot.parameter.module,
                       .format = weight.is_packed()
                                     ? std::string(InfoOf(weight.layout().format).name)
                                     : DtypeName(dtype),
                       .parameter_count = c10::multiply_integers(weight.shape()),
                       .weight_bytes = weight.size_bytes()});
  }
  return layers;
}

}  // namespace

ComponentPacking PackingOf(const ComponentOptions& options) {
  return {FormatByName(options.format), options.scope, options.formats_by_module,
          options.streams_text};
}

Result<std::string> ContentKeyOf(const ModelDirectory& directory, const ComponentOptions& options) {
  TF_ASSIGN_OR_RETURN(const Sources sources, FindSources(directory, options));
  std::string text = sources.graph->sha256 + "\n" + sources.component->weights.sha256 + "\n" +
                     (IsPacked(sources, options) ? "packed" : options.format) + "\n" +
                     DtypeName(options.dtype) + "\n" + options.device.str() + "\n" +
                     options.weights_path + "\n" + options.exclusive_to + "\n";
  // Nothing depends on what would be packed where nothing is, or where it was before.
  if (options.streams_text) text += "streams text\n";
  const bool packs = sources.format.has_value() || !options.formats_by_module.empty();
  if (packs && !IsPacked(sources, options)) {
    text += options.scope.name + "\n";
    for (const std::string& module : options.scope.exclude) text += module + "\n";
    for (const auto& [module, format] : options.formats_by_module) {
      text += module + "=" +
              (format.has_value() ? std::string(InfoOf(*format).name) : kUnpackedFormat) + "\n";
    }
  }
  constexpr size_t kDigits = 16;
  return options.component + "-" + Sha256::HexDigestOf(text).substr(0, kDigits);
}

Status CheckFiles(const ModelDirectory& directory, const ComponentOptions& options,
                  const std::function<bool(int64_t)>& progress) {
  TF_ASSIGN_OR_RETURN(const Sources sources, FindSources(directory, options));
  TF_RETURN_IF_ERROR(CheckListedFile(directory.path, *sources.graph, {}));
  if (!options.weights_path.empty()) {
    return WeightSource::Open(directory, *sources.component, options.weights_path).status();
  }
  return CheckListedFile(directory.path, sources.component->weights, progress);
}

Result<std::unique_ptr<Component>> Component::Load(const ModelDirectory& directory,
                                                   const ComponentOptions& options,
                                                   const std::function<bool(int64_t)>& progress) {
  TF_ASSIGN_OR_RETURN(const Sources sources, FindSources(directory, options));
  TF_ASSIGN_OR_RETURN(std::unique_ptr<WeightSource> weights,
                      WeightSource::Open(directory, *sources.component, options.weights_path));
  TF_ASSIGN_OR_RETURN(std::string graph_bytes,
                      ReadListedFile(directory.path, *sources.graph, kMaxGraphFileBytes));

  std::unique_ptr<Component> component(new Component);
  component->options_ = options;
  const Status loaded = RunTorch("load a component", [&]() -> Status {
    {
      const ScopedMemoryAccount account(LoadOptionsOf(options).weights);
      TF_ASSIGN_OR_RETURN(component->module_, LoadTorchScript(sources.graph->file, graph_bytes));
      graph_bytes = std::string();
      RetargetDevice(component->module_, options.device);
      component->slots_ = MakeWeightSlots(component->module_);
    }
    return component->Fill(std::move(weights), DigestOf(sources, options), progress);
  });
  if (!loaded.ok()) return loaded;
  return component;
}

Status Component::ReadWeights(const ModelDirectory& directory,
                              const std::function<bool(int64_t)>& progress) {
  TF_ASSIGN_OR_RETURN(const Sources sources, FindSources(directory, options_));
  TF_ASSIGN_OR_RETURN(std::unique_ptr<WeightSource> weights,
                      WeightSource::Open(directory, *sources.component, options_.weights_path));
  return RunTorch("load a component",
                  [&] { return Fill(std::move(weights), DigestOf(sources, options_), progress); });
}

Status Component::Fill(std::unique_ptr<WeightSource> weights, const std::string& sha256,
                       const std::function<bool(int64_t)>& progress) {
  const LoadOptions load = LoadOptionsOf(options_);
  const WeightTable table = weights->Table(PackingOf(options_));
  TF_ASSIGN_OR_RETURN(
      LoadReport report,
      weights->packed() != nullptr
          ? LoadPackedWeights(*weights->packed(), table, slots_, load, progress)
          : LoadWeights(*weights->safetensors(), sha256, table, slots_, load, progress));
  streamed_from_ = options_.streams_text ? std::move(weights) : nullptr;
  if (report.largest_decoded_bytes > 0) {
    ReserveDecodeScratch(report.largest_decoded_bytes, options_.device);
  }
  has_weights_ = true;
  description_.name = options_.component;
  description_.format = report.packed_module_count > 0 ? FormatNameOf(table) : kUnpackedFormat;
  description_.parameter_count = ParameterCount(table, slots_);
  description_.fp16_bytes = 2 * description_.parameter_count;
  // On another device than the CPU the allocator gives whole blocks.
  description_.weight_bytes = options_.device.is_cuda()
                                  ? load.weights->current_bytes()
                                  : TensorBytes(module_) + WeightObjectBytes(slots_);
  description_.packed_bytes = report.packed_bytes;
  description_.packed_parameter_count = report.packed_parameter_count;
  description_.packed_module_count = report.packed_module_count;
  description_.unpacked_modules = std::move(report.unpacked_modules);
  description_.layers = LayersOf(slots_, table, options_.dtype);
  return OkStatus();
}

Result<int64_t> Component::MoveWeights(const char* what, at::Device device) {
  int64_t bytes = 0;
  TF_RETURN_IF_ERROR(RunTorch(what, [&]() -> Status {
    bytes = tightfit::MoveWeights(slots_, device);
    return OkStatus();
  }));
  return bytes;
}

Result<int64_t> Component::MoveWeightsToHost() {
  return MoveWeights("keep a component in host memory", at::kCPU);
}

Result<int64_t> Component::MoveWeightsToDevice() {
  return MoveWeights("bring a component back", options_.device);
}

void Component::ClearWeights() {
  has_weights_ = false;
  static_cast<void>(RunTorch("free a component", [&]() -> Status {
    tightfit::ClearWeights(slots_);
    return OkStatus();
  }));
}

Result<std::unique_ptr<const KeptProducts>> Component::KeepTextProducts(const at::Tensor& text) {
  auto kept = std::make_unique<KeptProducts>(text);
  std::unordered_map<std::string_view, const WeightSlot*> biases;
  for (const WeightSlot& slot : slots_) {
    if (MultipliesText(slot.parameter.module) && slot.parameter.attribute == "bias") {
      biases[slot.parameter.module] = &slot;
    }
  }
  const auto keep = [&](const WeightSlot& slot) {
    const auto bias = biases.find(slot.parameter.module);
    kept->Keep(*slot.weight,
               DecodeProduct().Linear(
                   text, *slot.weight,
                   bias == biases.end() ? std::nullopt : std::optional(bias->second->held())));
  };
  TF_RETURN_IF_ERROR(RunTorch("multiply a prompt", [&]() -> Status {
    for (const WeightSlot& slot : slots_) {
      const bool is_held = slot.weight && slot.weight->tensor().defined();
      if (is_held && slot.parameter.kind == LayerKind::kLinear &&
          MultipliesText(slot.parameter.module)) {
        keep(slot);
      }
    }
    if (streamed_from_ == nullptr) return OkStatus();
    return StreamWeights(*streamed_from_->packed(), streamed_from_->Table(PackingOf(options_)),
                         slots_, LoadOptionsOf(options_), keep);
  }));
  return std::unique_ptr<const KeptProducts>(std::move(kept));
}

Result<std::vector<at::Tensor>> Component::Run(std::vector<c10::IValue> inputs) {
  std::vector<at::Tensor> outputs;
  const std::string what = "run the " + options_.component;
  TF_RETURN_IF_ERROR(RunTorch(what.c_str(), [&]() -> Status {
    const c10::IValue output = module_.forward(std::move(inputs));
    if (output.isTensor()) {
      outputs.push_back(output.toTensor());
    } else if (output.isTuple()) {
      for (const c10::IValue& element : output.toTupleRef().elements()) {
        outputs.push_back(element.toTensor());
      }
    } else {
      return Internal("could not " + what, "the graph returned neither a tensor nor a tuple");
    }
    return OkStatus();
  }));
  return outputs;
}

}  // namespace tightfit
