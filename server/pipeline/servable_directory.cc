#include "server/pipeline/servable_directory.h"

#include "kernels/format.h"
#include "server/base/is_among.h"
#include "server/pipeline/clip_tokenizer.h"
#include "server/pipeline/conditioner.h"
#include "server/pipeline/families.h"
#include "server/pipeline/samplers.h"
#include "server/weights/packing_check.h"
#include "server/weights/sensitivity.h"
#include "server/weights/weight_budget.h"
#include "server/weights/weight_source.h"

#include <algorithm>
#include <memory>
#include <utility>

namespace tightfit {
namespace {

// Graphs hold a few small tensors beside their weights: tables of frequencies, the numbers that
// positions have. Only a load can count them.
constexpr int64_t kMostConstantBytes = 16 << 10;

// LibTorch's allocator for CUDA gives whole blocks.
constexpr int64_t kCudaBlockBytes = 512;

// Of a UNet: its convolutions of stride 2, by diffusers' names. Names are what a file claims.
int32_t DownsamplerCount(const WeightTable& table) {
  constexpr std::ptrdiff_t kMost = 8;
  const auto count = std::ranges::count_if(table.entries(), [](const WeightEntry& entry) {
    const std::string& name = entry.tensor.name;
    return name.starts_with("down_blocks.") && name.find(".downsamplers.") != std::string::npos &&
           name.ends_with(".weight");
  });
  return static_cast<int32_t>(std::min(count, kMost));
}

// Channels that all layers give which multiply the prompt.
int64_t TextOutputCount(const WeightTable& table) {
  int64_t count = 0;
  for (const WeightEntry& entry : table.entries()) {
    if (entry.kind == LayerKind::kLinear && MultipliesText(ModuleOf(entry.tensor.name))) {
      count += entry.tensor.shape[0];
    }
  }
  return count;
}

// From the headers of the weight files: weights, graphs, and what loading takes beside them.
Result<ModelMemory> EstimateMemory(const ModelSpec& spec, const ServableDirectory& servable) {
  ModelMemory memory;
  const bool is_cpu = servable.device.is_cpu();
  const int64_t block_bytes = is_cpu ? 1 : kCudaBlockBytes;
  for (const auto& [name, component] : servable.directory.components) {
    const ComponentOptions options = ComponentOptionsOf(spec, servable, name);
    TF_ASSIGN_OR_RETURN(const std::unique_ptr<WeightSource> source,
                        WeightSource::Open(servable.directory, component, options.weights_path));
    const ComponentPacking packing = PackingOf(options);
    if (source->safetensors() != nullptr) {
      TF_RETURN_IF_ERROR(
          CheckPacking(name, source->safetensors()->tensors(), component.layers, packing));
    }
    const WeightTable table = source->Table(packing);
    const WeightEstimate estimate =
        table.Estimate(static_cast<int64_t>(c10::elementSize(options.dtype)), block_bytes);
    if (name == "unet") {
      memory.unet_halvings = DownsamplerCount(table);
      memory.streams_text = options.streams_text;
      if (spec.text_kv != kTextKvInStep) {
        memory.text_product_bytes =
            TextOutputCount(table) *
            static_cast<int64_t>(ClipTokenizer::kMaxLength * c10::elementSize(options.dtype));
      }
    }
    int64_t graph_bytes = 0;
    for (const auto& [graph_dtype, graph] : component.graphs) {
      graph_bytes = std::max(graph_bytes, graph.bytes);
    }
    const int64_t staging_bytes = is_cpu ? estimate.staging_bytes : estimate.device_staging_bytes;
    if (name == kVaeEncoder) {
      const int64_t bytes = estimate.weight_bytes + graph_bytes + staging_bytes;
      memory.on_demand[OnDemand::kVaeEncoder].bytes = bytes;
      // A load measures what encoding takes.
      memory.load_scratch_bytes = std::max(memory.load_scratch_bytes, bytes);
      continue;
    }
    TF_ASSIGN_OR_RETURN(std::string content_key, ContentKeyOf(servable.directory, options));
    memory.weights.push_back({.component = name,
                              .content_key = std::move(content_key),
                              .bytes = estimate.weight_bytes + graph_bytes});
    memory.load_scratch_bytes = std::max(memory.load_scratch_bytes, staging_bytes);
    memory.decode_scratch_bytes = std::max(memory.decode_scratch_bytes, estimate.decoded_bytes);
    if (name == "vae" && options.dtype != at::kFloat) {
      const WeightEstimate in_fp32 = source->Table({}).Estimate(sizeof(float), block_bytes);
      memory.on_demand[OnDemand::kFp32Vae].bytes =
          in_fp32.weight_bytes + graph_bytes + (is_cpu ? in_fp32.staging_bytes : 0);
    }
  }
  return memory;
}

// A directory that was packed has its formats; for others the configuration has them.
Result<ComponentFormats> ResolveFormats(const ModelSpec& spec, const ModelDirectory& directory) {
  ComponentFormats packed;
  for (const auto& [name, component] : directory.components) {
    if (!component.packed.has_value() || component.packed->format == kUnpackedFormat) continue;
    packed[name].format = component.packed->format;
  }
  const bool is_auto = spec.format == kAutoFormat;
  if (!IsPackedDirectory(directory)) {
    TF_ASSIGN_OR_RETURN(ComponentFormats formats,
                        ParseComponentFormats(is_auto ? kDefaultFormat : spec.format, spec.scope));
    TF_RETURN_IF_ERROR(CheckComponents(formats, directory));
    if (spec.budget_mib == 0) return formats;
    if (!is_auto && formats.contains("unet")) {
      return InvalidArgument(
          "budget_mib chooses the formats of the UNet's layers; leave the UNet out of format");
    }
    formats["unet"] = {.format = kUnpackedFormat, .scope = spec.scope};
    return formats;
  }
  if (is_auto) return packed;
  const std::string held = packed.empty() ? kUnpackedFormat : ComponentFormatsText(packed);
  return InvalidArgument("format: the model is packed as " + held +
                         " already; leave format out, or serve the directory that it was packed "
                         "from");
}

// Gives each layer of the UNet a format, so that the weights of all components fit the budget.
Status ApplyBudget(const ModelSpec& spec, ServableDirectory* servable) {
  if (IsPackedDirectory(servable->directory)) {
    return InvalidArgument(
        "budget_mib: the model is packed already; serve the directory that it was packed from");
  }
  const int64_t block_bytes = servable->device.is_cpu() ? 1 : kCudaBlockBytes;
  int64_t other_bytes = 0;
  std::optional<WeightBudget> budget;
  for (const auto& [name, component] : servable->directory.components) {
    if (name == kVaeEncoder) continue;  // only there while a request needs it
    const ComponentOptions options = ComponentOptionsOf(spec, *servable, name);
    TF_ASSIGN_OR_RETURN(const std::unique_ptr<WeightSource> source,
                        WeightSource::Open(servable->directory, component, options.weights_path));
    const auto dtype_bytes = static_cast<int64_t>(c10::elementSize(options.dtype));
    if (name == "unet") {
      TF_ASSIGN_OR_RETURN(const Sensitivity sensitivity, ReadSensitivity(servable->directory));
      budget.emplace(source->Table({}), sensitivity, options.scope,
                     WeightUnits{dtype_bytes, block_bytes});
    } else {
      const WeightTable table = source->Table({FormatByName(options.format), options.scope, {}});
      other_bytes += table.Estimate(dtype_bytes, block_bytes).weight_bytes;
    }
    other_bytes += kMostConstantBytes;
  }
  const auto unet_bytes = static_cast<int64_t>(spec.budget_mib * kMib) - other_bytes;
  if (unet_bytes < budget->least_bytes()) {
    return BudgetTooSmall("budget_mib", spec.budget_mib, other_bytes + budget->least_bytes());
  }
  servable->unet_formats = budget->Within(unet_bytes).formats;
  servable->formats["unet"].format = kMixedFormat;
  return OkStatus();
}

at::ScalarType DtypeOf(const ComputeDtypes& dtypes, const std::string& component) {
  if (component == kVaeEncoder) return at::kFloat;
  return component == "vae" ? dtypes.vae : dtypes.model;
}

// Whether a file that takes the VAE's place has its encoder, too.
bool HoldsEncoder(const std::string& path) {
  const auto file = SafetensorsFile::Open(path, "vae");
  return file.ok() && std::ranges::any_of((*file)->tensors(), [](const StoredTensor& tensor) {
           return tensor.name == "encoder.conv_in.weight";
         });
}

}  // namespace

ComponentOptions ComponentOptionsOf(const ModelSpec& spec, const ServableDirectory& servable,
                                    const std::string& component) {
  const ComponentFormat format = FormatOf(servable.formats, component);
  const bool is_unet = component == "unet";
  const bool has_own_formats = is_unet && !servable.unet_formats.empty();
  return {.component = component,
          .format = has_own_formats ? kUnpackedFormat : format.format,
          .scope = {.name = format.scope,
                    .exclude = is_unet ? spec.exclude : std::vector<std::string>()},
          .formats_by_module = has_own_formats ? servable.unet_formats : FormatsByModule(),
          .streams_text = is_unet && spec.text_kv == kTextKvStreamed,
          .dtype = DtypeOf(servable.dtypes, component),
          .device = servable.device,
          .weights_path = component == "vae" || component == kVaeEncoder ? spec.vae : std::string(),
          .exclusive_to = spec.share_weights ? std::string() : spec.name};
}

Result<ServableDirectory> OpenServableDirectory(const ModelSpec& spec, const std::string& device) {
  TF_ASSIGN_OR_RETURN(ModelDirectory directory, ReadModelDirectory(spec.path));
  TF_RETURN_IF_ERROR(CheckFamily(directory));
  // The directory's own encoder goes with the directory's own decoder.
  if (!spec.vae.empty() && !HoldsEncoder(spec.vae)) directory.components.erase(kVaeEncoder);
  // A scheduler that cannot be sampled is refused here, not at the first request.
  TF_RETURN_IF_ERROR(MakeSampler(SamplerNames().front(), directory.scheduler, 1).status());
  if (spec.vae_tile_px % directory.pixels_per_latent != 0) {
    return InvalidArgument("vae_tile_px must be a multiple of " +
                           std::to_string(directory.pixels_per_latent) + ", not " +
                           std::to_string(spec.vae_tile_px));
  }
  TF_ASSIGN_OR_RETURN(
      const ComputeDtypes dtypes,
      ResolveComputeDtype(directory, spec.compute_dtype, PreferredDtypes(at::Device(device))));
  TF_ASSIGN_OR_RETURN(ComponentFormats formats, ResolveFormats(spec, directory));
  ServableDirectory servable{.directory = std::move(directory),
                             .formats = std::move(formats),
                             .unet_formats = {},
                             .dtypes = dtypes,
                             .device = at::Device(device)};
  if (spec.text_kv == kTextKvStreamed && !IsPackedDirectory(servable.directory)) {
    return InvalidArgument(
        "text_kv: \"streamed\" reads weights as they are packed, which this directory's are not; "
        "pack it first: tightfit pack MODEL --out DIR");
  }
  if (spec.budget_mib > 0) TF_RETURN_IF_ERROR(ApplyBudget(spec, &servable));
  return servable;
}

Status CheckFilesAreThere(const ModelSpec& spec, const ServableDirectory& servable) {
  const ModelDirectory& directory = servable.directory;
  for (const auto& [name, component] : directory.components) {
    const ComponentOptions options = ComponentOptionsOf(spec, servable, name);
    TF_RETURN_IF_ERROR(WeightSource::Open(directory, component, options.weights_path).status());
    const auto graph = component.graphs.find(std::string(DtypeName(options.dtype)));
    if (graph == component.graphs.end()) continue;  // ContentKeyOf says so
    TF_RETURN_IF_ERROR(CheckListedSize(directory.path, graph->second));
  }
  for (const auto& [name, files] : directory.tokenizers) {
    for (const auto& [file_name, file] : files) {
      TF_RETURN_IF_ERROR(CheckListedSize(directory.path, file));
    }
  }
  return OkStatus();
}

Result<ModelDescription> DescribeModel(const ModelSpec& spec, const ServableDirectory& servable) {
  const ModelDirectory& directory = servable.directory;
  ModelDescription description;
  description.name = spec.name;
  description.family = directory.family;
  description.hash = directory.hash.substr(0, 10);
  description.prediction_type = directory.scheduler.prediction_type;
  description.format =
      servable.formats.empty() ? kUnpackedFormat : ComponentFormatsText(servable.formats);
  description.scope = spec.scope;
  description.compute_dtype = DtypeName(servable.dtypes.model);
  description.device = servable.device.str();
  description.license = directory.license;
  description.default_width_px = directory.default_width_px;
  description.default_height_px = directory.default_height_px;
  description.default_step_count = directory.default_step_count;
  description.default_guidance_scale = directory.default_guidance_scale;
  description.default_sampler = directory.default_sampler;
  description.default_timestep_spacing = directory.scheduler.timestep_spacing;
  description.samplers = SamplerNames();
  description.pixels_per_latent = directory.pixels_per_latent;
  description.latent_channels = directory.latent_channels;
  description.max_clip_skip = directory.max_clip_skip;
  description.usual_clip_skip = directory.usual_clip_skip;
  description.takes_second_prompt = directory.text_encoders.size() > 1;
  description.takes_sizes = !directory.time_ids.empty();
  const std::vector<std::string>& inputs = directory.components.at("unet").inputs;
  description.needs_mask = IsAmong(kMaskInput, inputs);
  description.embeds_guidance = IsAmong(kGuidanceInput, inputs);
  description.takes_init_image = directory.components.contains(kVaeEncoder);
  description.vae_tiling = spec.vae_tiling;
  description.vae_tile_px = spec.vae_tile_px > 0 ? spec.vae_tile_px : directory.vae_sample_size_px;
  description.force_zeros_for_empty_prompt = directory.force_zeros_for_empty_prompt;
  TF_ASSIGN_OR_RETURN(description.memory, EstimateMemory(spec, servable));
  return description;
}

}  // namespace tightfit
