#include "server/config/config_models.h"

#include "server/base/closest_name.h"
#include "server/base/component_formats.h"
#include "server/base/keep_alive.h"
#include "server/base/parse_number.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <limits>

namespace tightfit {
namespace {

constexpr size_t kMaxNameLength = 64;
constexpr int32_t kMaxTilePx = 16384;
constexpr double kMaxBudgetMib = 1e6;

std::vector<std::string> Split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (size_t start = 0; start <= text.size();) {
    const size_t end = std::min(text.find(separator, start), text.size());
    parts.emplace_back(text.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

// The same at commas, of which `\,` is none; `\\` is a backslash, as any other backslash is.
std::vector<std::string> SplitAtCommas(std::string_view text) {
  std::vector<std::string> parts(1);
  for (size_t i = 0; i < text.size(); ++i) {
    const bool escapes =
        text[i] == '\\' && i + 1 < text.size() && (text[i + 1] == ',' || text[i + 1] == '\\');
    if (escapes) {
      parts.back() += text[++i];
    } else if (text[i] == ',') {
      parts.emplace_back();
    } else {
      parts.back() += text[i];
    }
  }
  return parts;
}

bool IsModelName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameLength &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return std::isalnum(c) || c == '.' || c == '_' || c == '-';
         });
}

// `origin: "hf9" is none of fp16, hf8, ...`, or OK.
template <typename Names>
Status CheckChoice(const std::string& value, const Names& names, const std::string& origin) {
  const std::vector<std::string_view> known(names.begin(), names.end());
  if (std::find(known.begin(), known.end(), value) != known.end()) return OkStatus();
  std::string list;
  for (const std::string_view name : known) list += (list.empty() ? "" : ", ") + std::string(name);
  return BadConfiguration(origin + ": \"" + value + "\" is none of " + list +
                          DidYouMean(value, known));
}

std::string OriginOf(const ConfigOrigins& origins, const std::string& model,
                     const std::string& key) {
  const auto of_key = origins.find("model." + model + "." + key);
  if (of_key != origins.end()) return of_key->second;
  const auto of_model = origins.find("model." + model);
  return of_model != origins.end() ? of_model->second : "model \"" + model + "\"";
}

Status CheckDirectory(const ModelSpec& spec, const std::string& origin) {
  namespace fs = std::filesystem;
  std::error_code error;
  const auto refuse = [&](const std::string& why) {
    return BadConfiguration(origin + ": " + spec.path + " " + why);
  };
  const fs::file_status status = fs::status(spec.path, error);
  if (status.type() == fs::file_type::not_found) return refuse("does not exist");
  if (error) return refuse("cannot be looked at: " + error.message());
  if (status.type() != fs::file_type::directory) return refuse("is not a directory");
  if (!fs::is_regular_file(fs::path(spec.path) / "model.json", error)) {
    return refuse("holds no model.json; export a pipeline with tightfit-export");
  }
  return OkStatus();
}

Status CheckFormats(const ModelSpec& spec, const std::string& origin) {
  if (spec.format == kAutoFormat) return OkStatus();
  const Result<ComponentFormats> formats = ParseComponentFormats(spec.format, spec.scope);
  if (!formats.ok()) return BadConfiguration(origin + ": " + formats.status().message());
  for (const auto& [component, format] : *formats) {
    TF_RETURN_IF_ERROR(CheckChoice(format.format, ModelFormats(), origin));
    TF_RETURN_IF_ERROR(CheckChoice(format.scope, kScopes, origin));
  }
  return OkStatus();
}

Status CheckVae(const ModelSpec& spec, const std::string& origin, const std::string& tile_origin) {
  std::error_code error;
  if (!spec.vae.empty() && !std::filesystem::is_regular_file(spec.vae, error)) {
    return BadConfiguration(origin + ": " + spec.vae + " is no file");
  }
  if (spec.vae_tile_px < 0 || spec.vae_tile_px > kMaxTilePx) {
    return BadConfiguration(tile_origin + ": must be from 0 to " + std::to_string(kMaxTilePx) +
                            ", not " + std::to_string(spec.vae_tile_px));
  }
  return OkStatus();
}

Status CheckResidency(const ModelSpec& spec, const std::string& keep_alive_origin,
                      const std::string& priority_origin) {
  if (spec.keep_alive_seconds < 0 || spec.keep_alive_seconds > kMaxKeepAliveSeconds) {
    return BadConfiguration(keep_alive_origin + ": must be from 0 to " +
                            std::to_string(kMaxKeepAliveSeconds) + " (366 days), not " +
                            std::to_string(spec.keep_alive_seconds));
  }
  if (spec.priority < -kMaxPriority || spec.priority > kMaxPriority) {
    return BadConfiguration(priority_origin + ": must be from " + std::to_string(-kMaxPriority) +
                            " to " + std::to_string(kMaxPriority) + ", not " +
                            std::to_string(spec.priority));
  }
  return OkStatus();
}

}  // namespace

const std::vector<std::string_view>& ModelKeys() {
  static const auto* const keys =
      new std::vector<std::string_view>{"name",       "path",
                                        "format",     "scope",
                                        "budget_mib", "compute_dtype",
                                        "exclude",    "vae",
                                        "vae_tiling", "vae_tile_px",
                                        "text_kv",    "preload",
                                        "pinned",     "keep_alive_seconds",
                                        "priority",   "share_weights"};
  return *keys;
}

std::string* ModelText(std::string_view key, ModelSpec* spec) {
  if (key == "name") return &spec->name;
  if (key == "path") return &spec->path;
  if (key == "format") return &spec->format;
  if (key == "scope") return &spec->scope;
  if (key == "compute_dtype") return &spec->compute_dtype;
  if (key == "vae") return &spec->vae;
  if (key == "vae_tiling") return &spec->vae_tiling;
  if (key == "text_kv") return &spec->text_kv;
  return nullptr;
}

int32_t* ModelNumber(std::string_view key, ModelSpec* spec) {
  if (key == "vae_tile_px") return &spec->vae_tile_px;
  if (key == "keep_alive_seconds") return &spec->keep_alive_seconds;
  if (key == "priority") return &spec->priority;
  return nullptr;
}

double* ModelFraction(std::string_view key, ModelSpec* spec) {
  return key == "budget_mib" ? &spec->budget_mib : nullptr;
}

bool* ModelSwitch(std::string_view key, ModelSpec* spec) {
  if (key == "preload") return &spec->preload;
  if (key == "pinned") return &spec->pinned;
  if (key == "share_weights") return &spec->share_weights;
  return nullptr;
}

Result<ModelSpec> ParseModelFlag(std::string_view text, ConfigOrigins* origins) {
  const std::vector<std::string> parts = SplitAtCommas(text);
  const size_t equals = parts[0].find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == parts[0].size()) {
    return BadConfiguration("--model \"" + std::string(text) +
                            "\": write NAME=PATH, then ,KEY=VALUE as often as needed");
  }
  ModelSpec spec;
  spec.name = parts[0].substr(0, equals);
  spec.path = parts[0].substr(equals + 1);
  const std::string flag = "--model " + spec.name;
  (*origins)["model." + spec.name] = flag;
  for (const std::string_view key : ModelKeys()) {
    (*origins)["model." + spec.name + "." + std::string(key)] = flag + ": " + std::string(key);
  }
  std::vector<std::string_view> seen;
  for (size_t i = 1; i < parts.size(); ++i) {
    const std::string_view part = parts[i];
    const std::string_view key = part.substr(0, part.find('='));
    const std::vector<std::string_view> known(ModelKeys().begin() + 2, ModelKeys().end());
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return BadConfiguration(
          flag + ": unknown key \"" + std::string(key) + "\"" + DidYouMean(key, known) +
          (part.find('=') == part.npos ? "; a comma of a path is written \\," : ""));
    }
    if (key.size() + 1 >= part.size()) {
      return BadConfiguration(flag + ": " + std::string(key) + " has no value");
    }
    if (std::find(seen.begin(), seen.end(), key) != seen.end()) {
      return BadConfiguration(flag + ": " + std::string(key) + " is given twice");
    }
    seen.push_back(key);
    const std::string_view value = part.substr(key.size() + 1);
    if (std::string* field = ModelText(key, &spec)) {
      *field = value;
    } else if (int32_t* number = ModelNumber(key, &spec)) {
      constexpr int32_t kMax = std::numeric_limits<int32_t>::max();
      const Result<int64_t> given = ParseInteger(value, -kMax - 1, kMax);
      if (!given.ok()) {
        return BadConfiguration(flag + ": " + std::string(key) + " " + given.status().message());
      }
      *number = static_cast<int32_t>(*given);
    } else if (double* fraction = ModelFraction(key, &spec)) {
      const Result<double> given = ParseFraction(value, 0.0, kMaxBudgetMib);
      if (!given.ok()) {
        return BadConfiguration(flag + ": " + std::string(key) + " " + given.status().message());
      }
      *fraction = *given;
    } else if (bool* turned_on = ModelSwitch(key, &spec)) {
      if (value != "true" && value != "false") {
        return BadConfiguration(flag + ": " + std::string(key) + " must be true or false, not \"" +
                                std::string(value) + "\"");
      }
      *turned_on = value == "true";
    } else {
      spec.exclude = Split(value, ';');
    }
  }
  return spec;
}

Status ValidateModel(const ModelSpec& spec, const ConfigOrigins& origins) {
  const auto origin = [&](const char* key) { return OriginOf(origins, spec.name, key); };
  if (!IsModelName(spec.name)) {
    return BadConfiguration(origin("name") + ": \"" + spec.name +
                            "\" is no model name; names are 1 to 64 of A-Z a-z 0-9 . _ -");
  }
  TF_RETURN_IF_ERROR(CheckChoice(spec.scope, kScopes, origin("scope")));
  TF_RETURN_IF_ERROR(CheckFormats(spec, origin("format")));
  if (const Status budget = CheckFraction(spec.budget_mib, 0.0, kMaxBudgetMib); !budget.ok()) {
    return BadConfiguration(origin("budget_mib") + ": " + budget.message());
  }
  TF_RETURN_IF_ERROR(CheckChoice(spec.compute_dtype, kComputeDtypes, origin("compute_dtype")));
  TF_RETURN_IF_ERROR(CheckChoice(spec.vae_tiling, kVaeTilings, origin("vae_tiling")));
  TF_RETURN_IF_ERROR(CheckChoice(spec.text_kv, kTextKvs, origin("text_kv")));
  TF_RETURN_IF_ERROR(CheckVae(spec, origin("vae"), origin("vae_tile_px")));
  TF_RETURN_IF_ERROR(CheckResidency(spec, origin("keep_alive_seconds"), origin("priority")));
  for (const std::string& name : spec.exclude) {
    const bool is_module_path =
        !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
          return std::isalnum(c) || c == '.' || c == '_';
        });
    if (!is_module_path) {
      return BadConfiguration(origin("exclude") + ": \"" + name +
                              "\" is no module name, as in down_blocks.0 or conv_in");
    }
  }
  return CheckDirectory(spec, origin("path"));
}

}  // namespace tightfit
