#include "server/model/model_directory.h"

#include "server/base/json_text.h"
#include "server/base/load_stop.h"
#include "server/model/file_reader.h"
#include "server/model/model_errors.h"
#include "server/model/sha256.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <string_view>

namespace tightfit {
namespace {

using Json = nlohmann::json;

constexpr char kManifest[] = "model.json";
constexpr int64_t kMaxManifestBytes = 1 << 20;
constexpr int64_t kMaxFileBytes = int64_t{1} << 40;
constexpr int64_t kMaxParameterCount = int64_t{1} << 40;
constexpr int64_t kSchemaVersion = 2;
constexpr size_t kMaxTextBytes = 4096;

Status Unimplemented(const std::string& what) {
  return {StatusCode::kUnimplemented, "UNSUPPORTED_MODEL", std::string(kManifest) + ": " + what};
}

// A JSON object and the key path that led to it. The first problem that a reader meets is kept, and
// every value read after it is a default.
class Reader {
 public:
  Reader(const Json& json, std::string path, Status* problem)
      : json_(json), path_(std::move(path)), problem_(problem) {}

  void Refuse(const std::string& key, const std::string& what) const {
    if (problem_->ok()) *problem_ = BadModelDirectory(kManifest, PathOf(key) + " " + what);
  }

  Reader Object(const std::string& key) const {
    static const Json empty = Json::object();
    const Json* value = Find(key);
    if (value == nullptr || !value->is_object()) {
      Refuse(key, "must be an object");
      value = &empty;
    }
    return {*value, PathOf(key), problem_};
  }

  std::string Text(const std::string& key, size_t max_bytes = kMaxTextBytes) const {
    const Json* value = Find(key);
    if (value == nullptr || !value->is_string()) {
      Refuse(key, "must be a text");
      return {};
    }
    if (value->get_ref<const std::string&>().size() > max_bytes) {
      Refuse(key, "is longer than " + std::to_string(max_bytes) + " bytes");
      return {};
    }
    return value->get<std::string>();
  }
  std::string TextOr(const std::string& key, const std::string& absent) const {
    return Absent(key) ? absent : Text(key);
  }

  int64_t Integer(const std::string& key, int64_t low, int64_t high) const {
    const Json* value = Find(key);
    const bool fits = value != nullptr && value->is_number_integer() &&
                      !(value->is_number_unsigned() &&
                        value->get<uint64_t>() > std::numeric_limits<int64_t>::max()) &&
                      value->get<int64_t>() >= low && value->get<int64_t>() <= high;
    if (!fits) {
      Refuse(key, "must be an integer from " + std::to_string(low) + " to " + std::to_string(high));
      return low;
    }
    return value->get<int64_t>();
  }
  int32_t Integer32(const std::string& key, int32_t low, int32_t high) const {
    return static_cast<int32_t>(Integer(key, low, high));
  }
  int32_t Integer32Or(const std::string& key, int32_t low, int32_t high, int32_t absent) const {
    return Absent(key) ? absent : Integer32(key, low, high);
  }

  // Above `low`, at most `high`.
  double Number(const std::string& key, double low, double high) const {
    const Json* value = Find(key);
    if (value == nullptr || !value->is_number() || !std::isfinite(value->get<double>()) ||
        value->get<double>() <= low || value->get<double>() > high) {
      Refuse(key,
             "must be a number above " + std::to_string(low) + ", at most " + std::to_string(high));
      return high;
    }
    return value->get<double>();
  }
  double NumberOr(const std::string& key, double low, double high, double absent) const {
    return Absent(key) ? absent : Number(key, low, high);
  }

  bool Boolean(const std::string& key) const {
    const Json* value = Find(key);
    if (value == nullptr || !value->is_boolean()) {
      Refuse(key, "must be true or false");
      return false;
    }
    return value->get<bool>();
  }

  bool BooleanOr(const std::string& key, bool absent) const {
    return Absent(key) ? absent : Boolean(key);
  }

  // Not there, or null.
  bool Absent(const std::string& key) const {
    const Json* value = Find(key);
    return value == nullptr || value->is_null();
  }
  std::vector<std::string> Keys() const {
    std::vector<std::string> keys;
    for (const auto& item : json_.items()) keys.push_back(item.key());
    return keys;
  }

 private:
  const Json* Find(const std::string& key) const {
    const auto found = json_.find(key);
    return found == json_.end() ? nullptr : &*found;
  }
  std::string PathOf(const std::string& key) const {
    return path_.empty() ? Shown(key) : path_ + "." + Shown(key);
  }

  const Json& json_;
  const std::string path_;
  Status* const problem_;
};

bool IsHexDigest(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
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

ListedFile ReadFileEntry(const Reader& json) {
  ListedFile file;
  file.file = json.Text("file");
  if (!IsSafeFileName(file.file)) json.Refuse("file", "must be a plain name in the directory");
  file.bytes = json.Integer("bytes", 0, kMaxFileBytes);
  file.sha256 = json.Text("sha256");
  if (!IsHexDigest(file.sha256)) json.Refuse("sha256", "must be 64 lower-case hex digits");
  return file;
}

ManifestComponent ReadComponent(const Reader& json) {
  ManifestComponent component;
  component.parameter_count = json.Integer("parameter_count", 1, kMaxParameterCount);
  const Reader graphs = json.Object("graphs");
  for (const std::string& dtype : graphs.Keys()) {
    if (dtype != "fp32" && dtype != "bf16" && dtype != "fp16") {
      graphs.Refuse(dtype, "is not a dtype: fp32, bf16 or fp16");
    }
    component.graphs[dtype] = ReadFileEntry(graphs.Object(dtype));
  }
  if (component.graphs.empty()) json.Refuse("graphs", "must list at least one graph");
  component.weights = ReadFileEntry(json.Object("weights"));
  return component;
}

SchedulerConfig ReadScheduler(const Reader& json) {
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
  scheduler.set_alpha_to_one = json.BooleanOr("set_alpha_to_one", absent.set_alpha_to_one);
  return scheduler;
}

// Viewers show the beginning of this hash, so it must be the one of the weights that are served,
// unless the model came from a single file.
std::string HashOf(const std::map<std::string, ManifestComponent>& components) {
  std::string lines;
  for (const char* name : {"unet", "text_encoder", "text_encoder_2", "vae"}) {
    const auto found = components.find(name);
    if (found == components.end()) continue;
    lines += std::string(name) + " " + found->second.weights.sha256 + "\n";
  }
  return Sha256::HexDigestOf(lines);
}

// A model that was one file has that file's hash, as its users know it.
bool IsHashOfSourceFile(const Reader& top, const std::string& hash) {
  if (top.Absent("source")) return false;
  const Reader source = top.Object("source");
  return !source.Absent("sha256") && source.Text("sha256") == hash;
}

void ReadPictureDefaults(const Reader& top, ModelDirectory* model) {
  const Reader defaults = top.Object("defaults");
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

void ReadManifest(const Reader& top, ModelDirectory* model) {
  model->name = top.Text("name", 255);
  model->license = top.TextOr("license", "");
  model->hash = top.Text("hash");
  if (!IsHexDigest(model->hash)) top.Refuse("hash", "must be 64 lower-case hex digits");
  model->scheduler = ReadScheduler(top.Object("scheduler"));
  model->scheduler.prediction_type = top.Text("prediction_type", 64);
  model->pixels_per_latent = top.Integer32("pixels_per_latent", 1, 64);
  model->force_zeros_for_empty_prompt = top.Boolean("force_zeros_for_empty_prompt");
  const Reader vae = top.Object("vae");
  model->vae_scaling_factor = vae.Number("scaling_factor", 0.0, 1000.0);
  if (!vae.Absent("force_upcast")) model->vae_force_upcast = vae.Boolean("force_upcast");
  model->vae_sample_size_px = vae.Integer32("sample_size_px", 1, 16384);
  if (model->vae_sample_size_px % model->pixels_per_latent != 0) {
    vae.Refuse("sample_size_px", "must be a multiple of pixels_per_latent");
  }
  model->latent_channels = vae.Integer32("latent_channels", 1, 64);
  ReadPictureDefaults(top, model);

  const Reader text = top.Object("text");
  if (text.Integer("max_length", 1, 1024) != 77) text.Refuse("max_length", "must be 77");
  model->embedding_size = text.Integer32("embedding_size", 1, 65536);
  model->pooled_size = text.Integer32("pooled_size", 1, 65536);
  model->max_clip_skip = text.Integer32("max_clip_skip", 0, 64);

  const Reader components = top.Object("components");
  for (const char* name : {"unet", "text_encoder", "text_encoder_2", "vae"}) {
    model->components[name] = ReadComponent(components.Object(name));
  }
  if (model->hash != HashOf(model->components) && !IsHashOfSourceFile(top, model->hash)) {
    top.Refuse("hash", "does not belong to the SHA-256 values of the weight files or the source");
  }
  const Reader tokenizers = top.Object("tokenizers");
  for (const char* name : {"tokenizer", "tokenizer_2"}) {
    const Reader files = tokenizers.Object(name);
    for (const std::string& key : files.Keys()) {
      model->tokenizers[name][key] = ReadFileEntry(files.Object(key));
    }
    if (!files.Absent("tokenizer.json")) continue;
    for (const char* needed : {"vocab.json", "merges.txt"}) {
      if (files.Absent(needed)) files.Refuse(needed, "is missing");
    }
  }
}

// What a directory may hold rightly and this build cannot serve.
Status CheckServable(const Reader& top, const ModelDirectory& model) {
  if (model.family != "sdxl") return Unimplemented("family must be \"sdxl\"");
  if (!top.Object("vae").Absent("shift_factor")) {
    return Unimplemented("vae.shift_factor is not supported");
  }
  const SchedulerConfig& scheduler = model.scheduler;
  if (scheduler.prediction_type != "epsilon" && scheduler.prediction_type != "v_prediction") {
    return Unimplemented("prediction_type must be epsilon or v_prediction");
  }
  const Reader settings = top.Object("scheduler");
  for (const char* key : {"trained_betas", "sigma_min", "sigma_max"}) {
    if (!settings.Absent(key)) {
      return Unimplemented("scheduler." + std::string(key) + " is not supported");
    }
  }
  for (const char* key :
       {"use_beta_sigmas", "use_flow_sigmas", "use_lu_lambdas", "thresholding", "clip_sample"}) {
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

// The file, if it has the size that model.json says.
Result<std::unique_ptr<FileReader>> OpenListedFile(const ModelDirectory& directory,
                                                   const ListedFile& file) {
  TF_ASSIGN_OR_RETURN(std::unique_ptr<FileReader> reader,
                      FileReader::Open(directory.PathOf(file), file.file));
  if (reader->size_bytes() != file.bytes) {
    return FileTruncated(file.file, "the file has " + std::to_string(reader->size_bytes()) +
                                        " bytes, but model.json says " +
                                        std::to_string(file.bytes));
  }
  return reader;
}

// `text` as a document; one that is no object where it is anything else. A parsed document would
// hide a key that comes twice, of which other readers take another one.
Json ParseDocument(std::string_view text, std::string* repeated_key) {
  if (HoldsNul(text)) return {};
  // Depth is bounded before parsing: destroying a deeply nested document would recurse as deep.
  constexpr int kMaxDepth = 32;
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const Json::parser_callback_t check = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > kMaxDepth) return false;
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(value).second) {
      *repeated_key = value;
    }
    return true;
  };
  return Json::parse(text, check, /*allow_exceptions=*/false);
}

}  // namespace

Result<ModelDirectory> ReadModelDirectory(const std::string& path) {
  TF_ASSIGN_OR_RETURN(const std::unique_ptr<FileReader> file,
                      FileReader::Open(path + "/" + kManifest, kManifest));
  if (file->size_bytes() > kMaxManifestBytes) {
    return BadModelDirectory(kManifest, "the file is larger than 1 MiB");
  }
  std::string text(static_cast<size_t>(file->size_bytes()), '\0');
  TF_RETURN_IF_ERROR(file->ReadAt(0, file->size_bytes(), text.data()));
  TF_ASSIGN_OR_RETURN(ModelDirectory model, ParseManifest(text));
  model.path = path;
  return model;
}

Result<ModelDirectory> ParseManifest(std::string_view text) {
  std::string repeated_key;
  const Json json = ParseDocument(text, &repeated_key);
  if (json.is_discarded() || !json.is_object()) {
    return BadModelDirectory(kManifest, "not a JSON object");
  }
  if (!repeated_key.empty())
    return BadModelDirectory(kManifest, Shown(repeated_key) + " comes twice");

  Status problem;
  const Reader top(json, "", &problem);
  const int64_t version = top.Integer("schema_version", 1, 1000000);
  TF_RETURN_IF_ERROR(problem);
  if (version != kSchemaVersion) {
    return Unimplemented("schema_version must be " + std::to_string(kSchemaVersion) +
                         "; export the model again with this version of tightfit_export");
  }
  ModelDirectory model;
  model.family = top.Text("family", 64);
  ReadManifest(top, &model);
  TF_RETURN_IF_ERROR(problem);
  TF_RETURN_IF_ERROR(CheckServable(top, model));
  return model;
}

Result<std::string> ReadListedFile(const ModelDirectory& directory, const ListedFile& file,
                                   int64_t max_bytes) {
  TF_ASSIGN_OR_RETURN(const std::unique_ptr<FileReader> reader, OpenListedFile(directory, file));
  if (file.bytes > max_bytes) {
    return BadModelDirectory(file.file,
                             "the file is larger than " + std::to_string(max_bytes) + " bytes");
  }
  std::string bytes(static_cast<size_t>(file.bytes), '\0');
  TF_RETURN_IF_ERROR(reader->ReadAt(0, file.bytes, bytes.data()));
  const std::string found = Sha256::HexDigestOf(bytes);
  if (found != file.sha256) return ChecksumMismatch(file.file, file.sha256, found);
  return bytes;
}

Status CheckListedFile(const ModelDirectory& directory, const ListedFile& file,
                       const std::function<bool(int64_t)>& progress) {
  constexpr int64_t kPieceBytes = 4 << 20;
  TF_ASSIGN_OR_RETURN(const std::unique_ptr<FileReader> reader, OpenListedFile(directory, file));
  Sha256 sha256;
  std::vector<char> piece(static_cast<size_t>(std::min(kPieceBytes, file.bytes)));
  for (int64_t offset = 0; offset < file.bytes; offset += kPieceBytes) {
    const int64_t size_bytes = std::min(kPieceBytes, file.bytes - offset);
    TF_RETURN_IF_ERROR(reader->ReadAt(offset, size_bytes, piece.data()));
    sha256.Update(piece.data(), static_cast<size_t>(size_bytes));
    if (progress && !progress(size_bytes)) return LoadStopped();
  }
  const std::string found = sha256.HexDigest();
  return found == file.sha256 ? OkStatus() : ChecksumMismatch(file.file, file.sha256, found);
}

}  // namespace tightfit
