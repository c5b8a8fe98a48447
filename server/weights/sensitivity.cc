#include "server/weights/sensitivity.h"

#include "server/model/checked_json.h"
#include "server/model/model_errors.h"
#include "server/weights/packing_scope.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <utility>

namespace tightfit {
namespace {

constexpr int64_t kVersion = 1;
constexpr int64_t kMaxFileBytes = 8 << 20;
constexpr size_t kMaxLayers = 20000;
constexpr size_t kMaxJoint = 64;
constexpr double kMaxError = 1e6;
constexpr double kMostPsnrDb = 1000.0;

double Decibels(double ratio) { return 10.0 * std::log10(ratio); }

// Shortest texts make small files.
double ThreeDigits(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.2e", value);
  return std::strtod(text, nullptr);
}

std::vector<WeightFormat> ReadFormats(const CheckedJson& top) {
  std::vector<WeightFormat> formats;
  for (const std::string& name : top.Texts("formats", kFormats.size())) {
    const std::optional<WeightFormat> format = FormatByName(name);
    if (!format.has_value() || std::ranges::find(formats, *format) != formats.end()) {
      top.Refuse("formats", "must be names of formats, each once");
      return {};
    }
    formats.push_back(*format);
  }
  if (formats.empty()) top.Refuse("formats", "must name at least one format");
  return formats;
}

JointMeasurement ReadJoint(const CheckedJson& json) {
  return {.format = json.Text("format", 64),
          .predicted_error = json.Number("predicted_error", 0.0, kMaxError),
          .latent_error = json.Number("latent_error", 0.0, kMaxError),
          .image_psnr_db = json.Number("image_psnr_db", -kMostPsnrDb, kMostPsnrDb)};
}

void ReadTop(const CheckedJson& top, Sensitivity* sensitivity) {
  if (top.Integer("version", 1, 1000000) != kVersion) {
    top.Refuse("version", "must be " + std::to_string(kVersion) + "; measure it again");
  }
  sensitivity->weights_sha256 = top.Text("weights_sha256", 64);
  sensitivity->scope = top.Text("scope", 64);
  if (!IsPackingScope(sensitivity->scope)) top.Refuse("scope", "is no scope");
  const CheckedJson measured = top.Object("measured");
  sensitivity->measured_formats = measured.Texts("formats", kFormats.size());
  sensitivity->sampler = measured.Text("sampler", 64);
  sensitivity->step_count = measured.Integer32("step_count", 1, 1000);
  sensitivity->prompt_count = measured.Integer32("prompt_count", 1, 1000000);
  sensitivity->seed = measured.Integer("seed", 0, std::numeric_limits<int64_t>::max());
  sensitivity->width_px = measured.Integer32("width_px", 1, 65536);
  sensitivity->height_px = measured.Integer32("height_px", 1, 65536);
  sensitivity->formats = ReadFormats(top);
  const CheckedJson layers = top.Object("layers");
  const std::vector<std::string> names = layers.Keys();
  if (names.empty() || names.size() > kMaxLayers) {
    top.Refuse("layers", "must be 1 to " + std::to_string(kMaxLayers) + " layers");
    return;
  }
  for (const std::string& name : names) {
    sensitivity->layers[name] =
        layers.NumbersOrNulls(name, sensitivity->formats.size(), 0.0, kMaxError);
  }
  for (const CheckedJson& joint : top.Objects("joint", kMaxJoint)) {
    sensitivity->joint.push_back(ReadJoint(joint));
  }
  const auto& joint = sensitivity->joint;
  for (size_t i = 1; i < joint.size(); ++i) {
    if (joint[i].predicted_error > joint[i - 1].predicted_error &&
        joint[i].image_psnr_db < joint[i - 1].image_psnr_db) {
      continue;
    }
    top.Refuse("joint", "must have rising predicted errors and falling PSNR");
  }
}

}  // namespace

// A straight line through two measurements of which the first is better in both; a slope of one
// decibel for a decibel where there is one measurement only.
double Sensitivity::PsnrForError(double error) const {
  if (error <= 0.0) return std::numeric_limits<double>::infinity();
  const double level_db = Decibels(error);
  if (joint.size() == 1) {
    return joint[0].image_psnr_db + Decibels(joint[0].predicted_error) - level_db;
  }
  size_t upper = 1;
  while (upper + 1 < joint.size() && joint[upper].predicted_error < error) ++upper;
  const JointMeasurement& a = joint[upper - 1];
  const JointMeasurement& b = joint[upper];
  const double slope = (b.image_psnr_db - a.image_psnr_db) /
                       (Decibels(b.predicted_error) - Decibels(a.predicted_error));
  return a.image_psnr_db + slope * (level_db - Decibels(a.predicted_error));
}

double Sensitivity::ErrorForPsnr(double image_psnr_db) const {
  if (joint.size() == 1) {
    return joint[0].predicted_error *
           std::pow(10.0, (joint[0].image_psnr_db - image_psnr_db) / 10.0);
  }
  size_t upper = 1;
  while (upper + 1 < joint.size() && joint[upper].image_psnr_db > image_psnr_db) ++upper;
  const JointMeasurement& a = joint[upper - 1];
  const JointMeasurement& b = joint[upper];
  const double slope = (Decibels(b.predicted_error) - Decibels(a.predicted_error)) /
                       (b.image_psnr_db - a.image_psnr_db);
  return a.predicted_error * std::pow(10.0, slope * (image_psnr_db - a.image_psnr_db) / 10.0);
}

Result<Sensitivity> ParseSensitivity(std::string_view text) {
  TF_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJsonObject(text, kSensitivityFile));
  Status problem;
  Sensitivity sensitivity;
  ReadTop(CheckedJson(json, kSensitivityFile, &problem), &sensitivity);
  TF_RETURN_IF_ERROR(problem);
  return sensitivity;
}

std::string SensitivityText(const Sensitivity& sensitivity) {
  using Json = nlohmann::ordered_json;
  Json top;
  top["version"] = kVersion;
  top["weights_sha256"] = sensitivity.weights_sha256;
  top["scope"] = sensitivity.scope;
  top["measured"] = {{"formats", sensitivity.measured_formats},
                     {"sampler", sensitivity.sampler},
                     {"step_count", sensitivity.step_count},
                     {"prompt_count", sensitivity.prompt_count},
                     {"seed", sensitivity.seed},
                     {"width_px", sensitivity.width_px},
                     {"height_px", sensitivity.height_px}};
  top["joint"] = Json::array();
  for (const JointMeasurement& joint : sensitivity.joint) {
    top["joint"].push_back({{"format", joint.format},
                            {"predicted_error", ThreeDigits(joint.predicted_error)},
                            {"latent_error", ThreeDigits(joint.latent_error)},
                            {"image_psnr_db", std::round(joint.image_psnr_db * 100.0) / 100.0}});
  }
  top["formats"] = Json::array();
  for (const WeightFormat format : sensitivity.formats) {
    top["formats"].push_back(std::string(InfoOf(format).name));
  }
  // One line a layer.
  std::string text = top.dump(1);
  text.resize(text.size() - 2);  // "\n}"
  text += ",\n \"layers\": {";
  const char* separator = "\n";
  for (const auto& [name, errors] : sensitivity.layers) {
    Json list = Json::array();
    for (const std::optional<double>& error : errors) {
      list.push_back(error.has_value() ? Json(ThreeDigits(*error)) : Json());
    }
    text += separator + ("  " + Json(name).dump()) + ": " + list.dump();
    separator = ",\n";
  }
  return text + "\n }\n}\n";
}

Result<Sensitivity> ReadSensitivity(const ModelDirectory& directory) {
  if (!directory.sensitivity.has_value()) {
    return Status(StatusCode::kFailedPrecondition, "SENSITIVITY_MISSING",
                  "nothing is known of how sensitive this model's layers are; measure it with "
                  "`tightfit fidelity --sensitivity --store --model DIR --prompts FILE`");
  }
  TF_ASSIGN_OR_RETURN(const std::string text,
                      ReadListedFile(directory.path, *directory.sensitivity, kMaxFileBytes));
  TF_ASSIGN_OR_RETURN(Sensitivity sensitivity, ParseSensitivity(text));
  if (sensitivity.weights_sha256 != directory.components.at("unet").weights.sha256) {
    return BadModelDirectory(
        kSensitivityFile,
        "was measured on other weights than this UNet's; measure it again with "
        "`tightfit fidelity --sensitivity --store`");
  }
  return sensitivity;
}

}  // namespace tightfit
