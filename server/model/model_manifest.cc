#include "server/model/model_manifest.h"

#include "server/model/checked_json.h"
#include "server/model/model_errors.h"
#include "server/model/sha256.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>

namespace tightfit {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{1} << 40;
constexpr int64_t kMaxParameterCount = int64_t{1} << 40;
constexpr int64_t kMaxLayers = 65536;
constexpr int64_t kSchemaVersion = 3;
constexpr int64_t kSdxlOnlySchemaVersion = 2;  // which names no inputs, outputs or text encoders
constexpr size_t kMaxNames = 32;               // inputs or outputs of a graph
constexpr size_t kMaxTextEncoders = 4;
constexpr int64_t kPackedVersion = 1;

Status Unimplemented(const std::string& what) {
  return {StatusCode::kUnimplemented, "UNSUPPORTED_MODEL",
          std::string(kManifestName) + ": " + what};
}

// Plain relative names only: a manifest must not lead out of its directory.
bool IsSafeFileName(std::string_view name) {
  if (name.empty() || name.size() > 255 || name.front() == '/') return false;
  size_t begin = 0;
  while (begin <= name.size()) {
    const size_t end = std::min(name.find('/', begin), name.size());
    const std::string_view part = name.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return false;
    begin = end + 1;
  }
  return name.find_first_not_of(
             "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-/") ==
         std::string_view::npos;
}

ListedFile ReadFileEntry(const CheckedJson& json) {
  ListedFile file;
  file.file = json.Text("file");
  if (!IsSafeFileName(file.file)) json.Refuse("file", "must be a plain name in the directory");
  file.bytes = json.Integer("bytes", 0, kMaxFileBytes);
  file.sha256 = json.Text("sha256");
  if (!IsHexDigest(file.sha256)) json.Refuse("sha256", "must be 64 lower-case hex digits");
  return file;
}

std::string ReadDigest(const CheckedJson& json, const std::string& key) {
  std::string digest = json.Text(key);
  if (!IsHexDigest(digest)) json.Refuse(key, "must be 64 lower-case hex digits");
  return digest;
}

PackedWeightFile ReadPacked(const CheckedJson& json) {
  if (json.Integer("version", 1, 1000000) != kPackedVersion) {
    json.Refuse("version", "must be " + std::to_string(kPackedVersion) +
                               "; the checkpoint was packed by another release: pack it again");
  }
  return {.index_sha256 = ReadDigest(json, "index_sha256"),
          .original_sha256 = ReadDigest(json, "original_sha256"),
          .format = json.Text("format", 64)};
}

LayerKinds ReadLayers(const CheckedJson& json) {
  LayerKinds layers;
  for (const auto& [key, kind] :
       {std::pair("linear", LayerKind::kLinear), std::pair("conv2d", LayerKind::kConv2d)}) {
    for (const std::string& module : json.Texts(key, kMaxLayers)) {
      if (!layers.emplace(module, kind).second) json.Refuse(key, "names a module twice");
    }
  }
  return layers;
}

ManifestComponent ReadComponent(const CheckedJson& json) {
  ManifestComponent component;
  component.inputs = json.Texts("inputs", kMaxNames);
  component.outputs = json.Texts("outputs", kMaxNames);
  component.parameter_count = json.Integer("parameter_count", 1, kMaxParameterCount);
  const CheckedJson graphs = json.Object("graphs");
  for (const std::string& dtype : graphs.Keys()) {
    if (dtype != "fp32" && dtype != "bf16" && dtype != "fp16") {
      graphs.Refuse(dtype, "is not a dtype: fp32, bf16 or fp16");
    }
    component.graphs[dtype] = ReadFileEntry(graphs.Object(dtype));
  }
  if (component.graphs.empty()) json.Refuse("graphs", "must list at least one graph");
  const CheckedJson weights = json.Object("weights");
  component.weights = ReadFileEntry(weights);
  if (!weights.Absent("packed")) component.packed = ReadPacked(weights.Object("packed"));
  if (!json.Absent("layers")) component.layers = ReadLayers(json.Object("layers"));
  return component;
}

SchedulerConfig ReadScheduler(const CheckedJson& json) {
  SchedulerConfig scheduler;
  const SchedulerConfig absent;
  scheduler.class_name = json.Text("_class_name");
  scheduler.num_train_timesteps =
      json.Integer32Or("num_train_timesteps", 1, 100000, absent.num_train_timesteps);
  scheduler.beta_start = json.NumberOr("beta_start", 0.0, 1.0, absent.beta_start);
  scheduler.beta_end = json.NumberOr("beta_end", 0.0, 1.0, absent.beta_end);
  scheduler.beta_schedule = json.TextOr("beta_schedule", absent.beta_schedule);
  scheduler.timestep_spacing = json.TextOr("timestep_spacing", absent.timestep_spacing);
  scheduler.steps_offset = json.Integer32Or("steps_offset", 0, 100000, absent.steps_offset);
  scheduler.interpolation_type = json.TextOr("interpolation_type", absent.interpolation_type);
  scheduler.final_sigmas_type = json.TextOr("final_sigmas_type", absent.final_sigmas_type);
  scheduler.rescale_betas_zero_snr = json.BooleanOr("rescale_betas_zero_snr", false);
  if (!json.Absent("set_alpha_to_one")) {
    scheduler.set_alpha_to_one = json.Boolean("set_alpha_to_one");
  }
  if (json.BooleanOr("clip_sample", false)) {
    scheduler.clip_sample_range = json.NumberOr("clip_sample_range", 0.0, 1e6, 1.0);
  }
  return scheduler;
}

// Viewers show the beginning of this hash, so it must be the one of the weights that are served,
// unless the model came from a single file.
std::string HashOf(const std::map<std::string, ManifestComponent>& components) {
  std::string lines;
  for (const std::string_view name : kModelComponents) {
    const auto found = components.find(std::string(name));
    if (found == components.end()) continue;
    const ManifestComponent& component = found->second;
    lines += std::string(name) + " " +
             (component.packed ? component.packed->original_sha256 : component.weights.sha256) +
             "\n";
  }
  return Sha256::HexDigestOf(lines);
}

// A model that was one file has that file's hash, as its users know it.
bool IsHashOfSourceFile(const CheckedJson& top, const std::string& hash) {
  if (top.Absent("source")) return false;
  const CheckedJson source = top.Object("source");
  return !source.Absent("sha256") && source.Text("sha256") == hash;
}

void ReadImageDefaults(const CheckedJson& top, ModelDirectory* model) {
  const CheckedJson defaults = top.Object("defaults");
  model->default_width_px = defaults.Integer32("width_px", 1, 16384);
  model->default_height_px = defaults.Integer32("height_px", 1, 16384);
  for (const auto& [key, value] : {std::pair("width_px", model->default_width_px),
                                   std::pair("height_px", model->default_height_px)}) {
    if (value % model->pixels_per_latent != 0) {
      defaults.Refuse(key, "must be a multiple of pixels_per_latent");
    }
  }
  model->default_step_count = defaults.Integer32("step_count", 1, 1000);
  model->default_guidance_scale =
      static_cast<float>(defaults.Number("guidance_scale", -1e-9, 100.0));
  model->default_sampler = defaults.Text("sampler", 64);
}

void ReadText(const CheckedJson& text, ModelDirectory* model) {
  if (text.Integer("max_length", 1, 1024) != 77) text.Refuse("max_length", "must be 77");
  model->embedding_size = text.Integer32("embedding_size", 1, 65536);
  model->pooled_size = text.Integer32("pooled_size", 0, 65536);
  model->max_clip_skip = text.Integer32("max_clip_skip", 0, 64);
  model->usual_clip_skip = text.Integer32Or("usual_clip_skip", 1, 64, model->usual_clip_skip);
  for (const CheckedJson& encoder : text.Objects("encoders", kMaxTextEncoders)) {
    model->text_encoders.push_back(
        {.component = encoder.Text("component", 64), .tokenizer = encoder.Text("tokenizer", 64)});
  }
}

// What schema 2 leaves out, because every model was SDXL.
void FillInSdxl(ModelDirectory* model) {
  model->text_encoders = {{"text_encoder", "tokenizer"}, {"text_encoder_2", "tokenizer_2"}};
  model->time_ids = {"original_height", "original_width", "crop_top",
                     "crop_left",       "target_height",  "target_width"};
  const auto name = [model](const char* component, std::vector<std::string> inputs,
                            std::vector<std::string> outputs) {
    const auto found = model->components.find(component);
    if (found == model->components.end()) return;
    found->second.inputs = std::move(inputs);
    found->second.outputs = std::move(outputs);
  };
  name("unet", {"sample", "timestep", "encoder_hidden_states", "text_embeds", "time_ids"},
       {"prediction"});
  name("text_encoder", {"input_ids"}, {"hidden_states", "pooled"});
  name("text_encoder_2", {"input_ids"}, {"hidden_states", "pooled"});
  name("vae", {"latents"}, {"image"});
  name(kVaeEncoder, {"image"}, {"moments"});
}

std::map<std::string, ListedFile> ReadTokenizer(const CheckedJson& files) {
  std::map<std::string, ListedFile> tokenizer;
  for (const std::string& key : files.Keys()) tokenizer[key] = ReadFileEntry(files.Object(key));
  if (!files.Absent("tokenizer.json")) return tokenizer;
  for (const char* needed : {"vocab.json", "merges.txt"}) {
    if (files.Absent(needed)) files.Refuse(needed, "is missing");
  }
  return tokenizer;
}

// Whether every text encoder is a component of its own.
void CheckTextEncoders(const CheckedJson& text, const ModelDirectory& model) {
  if (model.text_encoders.empty()) text.Refuse("encoders", "must name at least one");
  std::set<std::string> named;
  for (const ManifestTextEncoder& encoder : model.text_encoders) {
    const bool is_encoder = encoder.component.starts_with("text_encoder");
    if (is_encoder && model.components.contains(encoder.component) &&
        named.insert(encoder.component).second) {
      continue;
    }
    text.Refuse("encoders", "must name each text encoder of components once");
  }
  for (const auto& [name, component] : model.components) {
    if (name.starts_with("text_encoder") && !named.contains(name)) {
      text.Refuse("encoders", "must name each text encoder of components once");
    }
  }
}

void ReadComponents(const CheckedJson& top, bool is_sdxl_only, ModelDirectory* model) {
  const CheckedJson components = top.Object("components");
  for (const std::string_view view : kModelComponents) {
    const std::string name(view);
    const bool may_be_absent = !is_sdxl_only && name.starts_with("text_encoder");
    if (may_be_absent && components.Absent(name)) continue;
    model->components[name] = ReadComponent(components.Object(name));
  }
  if (!components.Absent(kVaeEncoder)) {
    const CheckedJson json = components.Object(kVaeEncoder);
    ManifestComponent& encoder = model->components[kVaeEncoder] = ReadComponent(json);
    if (!encoder.graphs.contains("fp32")) json.Refuse("graphs", "must have one in fp32");
  }
  for (const auto& [name, component] : model->components) {
    if (component.packed.has_value() == model->components.at("unet").packed.has_value()) continue;
    components.Refuse(name, "is packed and others are not, or the other way round");
  }
  if (is_sdxl_only) return FillInSdxl(model);
  for (const auto& [name, component] : model->components) {
    const CheckedJson json = components.Object(name);
    if (component.inputs.empty()) json.Refuse("inputs", "must name what the graphs take");
    if (component.outputs.empty()) json.Refuse("outputs", "must name what the graphs give");
  }
}

void ReadManifest(const CheckedJson& top, bool is_sdxl_only, ModelDirectory* model) {
  model->name = top.Text("name", 255);
  model->license = top.TextOr("license", "");
  model->hash = top.Text("hash");
  if (!IsHexDigest(model->hash)) top.Refuse("hash", "must be 64 lower-case hex digits");
  model->scheduler = ReadScheduler(top.Object("scheduler"));
  model->scheduler.prediction_type = top.Text("prediction_type", 64);
  model->pixels_per_latent = top.Integer32("pixels_per_latent", 1, 64);
  model->force_zeros_for_empty_prompt = top.Boolean("force_zeros_for_empty_prompt");
  const CheckedJson vae = top.Object("vae");
  model->vae_scaling_factor = vae.Number("scaling_factor", 0.0, 1000.0);
  if (!vae.Absent("force_upcast")) model->vae_force_upcast = vae.Boolean("force_upcast");
  model->vae_sample_size_px = vae.Integer32("sample_size_px", 1, 16384);
  if (model->vae_sample_size_px % model->pixels_per_latent != 0) {
    vae.Refuse("sample_size_px", "must be a multiple of pixels_per_latent");
  }
  model->latent_channels = vae.Integer32("latent_channels", 1, 64);
  ReadImageDefaults(top, model);
  ReadText(top.Object("text"), model);
  model->time_ids = top.Texts("time_ids", kMaxNames);
  model->guidance_embedding_size = top.Integer32Or("guidance_embedding_size", 0, 65536, 0);
  ReadComponents(top, is_sdxl_only, model);
  CheckTextEncoders(top.Object("text"), *model);
  if (model->hash != HashOf(model->components) && !IsHashOfSourceFile(top, model->hash)) {
    top.Refuse("hash", "does not belong to the SHA-256 values of the weight files or the source");
  }
  if (!top.Absent("sensitivity")) model->sensitivity = ReadFileEntry(top.Object("sensitivity"));
  const CheckedJson tokenizers = top.Object("tokenizers");
  for (const ManifestTextEncoder& encoder : model->text_encoders) {
    model->tokenizers[encoder.tokenizer] = ReadTokenizer(tokenizers.Object(encoder.tokenizer));
  }
}

// What a directory may hold rightly and this build cannot serve.
Status CheckSupported(const CheckedJson& top, const ModelDirectory& model) {
  if (!top.Object("vae").Absent("shift_factor")) {
    return Unimplemented("vae.shift_factor is not supported");
  }
  const SchedulerConfig& scheduler = model.scheduler;
  if (scheduler.prediction_type != "epsilon" && scheduler.prediction_type != "v_prediction") {
    return Unimplemented("prediction_type must be epsilon or v_prediction");
  }
  const CheckedJson settings = top.Object("scheduler");
  for (const char* key : {"trained_betas", "sigma_min", "sigma_max"}) {
    if (!settings.Absent(key)) {
      return Unimplemented("scheduler." + std::string(key) + " is not supported");
    }
  }
  for (const char* key : {"use_beta_sigmas", "use_flow_sigmas", "use_lu_lambdas", "thresholding"}) {
    if (settings.BooleanOr(key, false)) {
      return Unimplemented("scheduler." + std::string(key) + " is not supported");
    }
  }
  if (settings.TextOr("timestep_type", "discrete") != "discrete") {
    return Unimplemented("scheduler.timestep_type must be discrete");
  }
  if (scheduler.beta_schedule != "linear" && scheduler.beta_schedule != "scaled_linear") {
    return Unimplemented("scheduler.beta_schedule must be linear or scaled_linear");
  }
  if (scheduler.timestep_spacing != "leading" && scheduler.timestep_spacing != "trailing" &&
      scheduler.timestep_spacing != "linspace") {
    return Unimplemented("scheduler.timestep_spacing must be leading, trailing or linspace");
  }
  return OkStatus();
}

}  // namespace

Result<ModelDirectory> ParseManifest(std::string_view text) {
  TF_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJsonObject(text, kManifestName));
  Status problem;
  const CheckedJson top(json, kManifestName, &problem);
  const int64_t version = top.Integer("schema_version", 1, 1000000);
  TF_RETURN_IF_ERROR(problem);
  const bool is_sdxl_only = version == kSdxlOnlySchemaVersion;
  if (version != kSchemaVersion && !is_sdxl_only) {
    return Unimplemented("schema_version must be " + std::to_string(kSchemaVersion) +
                         "; export the model again with this version of tightfit_export");
  }
  ModelDirectory model;
  model.family = top.Text("family", 64);
  if (is_sdxl_only && model.family != "sdxl") {
    top.Refuse("family", "must be \"sdxl\" in schema_version 2");
  }
  ReadManifest(top, is_sdxl_only, &model);
  TF_RETURN_IF_ERROR(problem);
  TF_RETURN_IF_ERROR(CheckSupported(top, model));
  return model;
}

}  // namespace tightfit
