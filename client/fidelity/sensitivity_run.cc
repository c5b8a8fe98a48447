#include "client/fidelity/sensitivity_run.h"

#include "client/cli/whole_file.h"
#include "client/fidelity/drawing.h"
#include "client/fidelity/image_metrics.h"
#include "client/fidelity/prompt_list.h"
#include "client/fidelity/sensitivity_summary.h"
#include "client/weights/output_file.h"
#include "server/base/cpu_share.h"
#include "server/base/openmp_waiting.h"
#include "server/model/model_directory.h"
#include "server/model/sha256.h"
#include "server/pipeline/device_runtime.h"
#include "server/pipeline/layer_trials.h"
#include "server/pipeline/model_loader.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace tightfit::fidelity {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxTrialPromptsBytes = 64 << 20;
constexpr size_t kMaxManifestBytes = 1 << 20;
constexpr int32_t kDefaultStepCount = 8;
// All layers at once: from hardly visible to plainly so.
constexpr WeightFormat kJointFormats[] = {WeightFormat::kE2m5r, WeightFormat::kE2m3r,
                                          WeightFormat::kNf458, WeightFormat::kNf358};

double EnergyRatio(const std::vector<float>& reference, const std::vector<float>& measured) {
  double energy = 0.0;
  double error = 0.0;
  for (size_t i = 0; i < reference.size(); ++i) {
    const double difference = static_cast<double>(measured[i]) - reference[i];
    energy += static_cast<double>(reference[i]) * reference[i];
    error += difference * difference;
  }
  return energy > 0.0 ? error / energy : 0.0;
}

class TrialRun {
 public:
  TrialRun(DeviceRuntime& runtime, const FidelityOptions& options, const std::stop_token& stop,
           const OnProgress& on_progress)
      : runtime_(runtime), options_(options), stop_(stop), on_progress_(on_progress) {}

  Result<Sensitivity> Measure() {
    TF_RETURN_IF_ERROR(ReadPrompts());
    TF_RETURN_IF_ERROR(LoadModel());
    TF_RETURN_IF_ERROR(OpenLog());
    const int64_t layer_count = std::ssize(trials_->layers());
    const int64_t draw_count =
        1 + layer_count * std::ssize(measured_formats_) + std::ssize(kJointFormats);
    int64_t done = 0;
    const auto report = [&](const std::string& label) { on_progress_(label, done, draw_count); };
    report("the reference");
    TF_ASSIGN_OR_RETURN(reference_, DrawAll(/*with_images=*/true));
    ++done;
    for (const std::string& layer : trials_->layers()) {
      for (const WeightFormat format : measured_formats_) {
        report(layer);
        TF_RETURN_IF_ERROR(MeasureLayer(layer, format));
        ++done;
      }
      for (const WeightFormat format : kBudgetFormats) {
        TF_RETURN_IF_ERROR(MeasureNoise(layer, format));
      }
    }
    sensitivity_.measured_formats = options_.formats;
    SummarizeLayers(log_->measurements(), &sensitivity_);
    std::vector<JointMeasurement> joint;
    for (const WeightFormat format : kJointFormats) {
      const std::string name(InfoOf(format).name);
      report("all layers in " + name);
      TF_ASSIGN_OR_RETURN(joint.emplace_back(), MeasureJointly(format));
      ++done;
    }
    SetJoint(std::move(joint), &sensitivity_);
    return std::move(sensitivity_);
  }

 private:
  Status ReadPrompts() {
    TF_ASSIGN_OR_RETURN(const std::string text,
                        cli::ReadWholeFile(options_.prompts, kMaxTrialPromptsBytes));
    TF_ASSIGN_OR_RETURN(prompts_, ParsePrompts(text));
    if (options_.prompt_limit > 0 && prompts_.size() > static_cast<size_t>(options_.prompt_limit)) {
      prompts_.resize(options_.prompt_limit);
    }
    for (const std::string& name : options_.formats) {
      measured_formats_.push_back(*FormatByName(name));
    }
    return OkStatus();
  }

  Status LoadModel() {
    ModelSpec spec;
    spec.name = "model";
    spec.path = options_.model;
    spec.format = "fp16";
    spec.scope = options_.scopes.front();
    spec.compute_dtype = options_.compute_dtype;
    on_progress_("loading", 0, 1);
    TF_ASSIGN_OR_RETURN(model_, LoadDiffusionModel(runtime_, spec, [this](const LoadProgress&) {
                          return !stop_.stop_requested();
                        }));
    TF_ASSIGN_OR_RETURN(trials_, LayerTrials::Open(runtime_, spec));
    const ModelDescription& description = model_->description();
    draw_ = {.samplers = options_.samplers,
             .width_px = options_.width_px.value_or(description.default_width_px),
             .height_px = options_.height_px.value_or(description.default_height_px),
             .step_count = options_.step_count.value_or(
                 std::min(kDefaultStepCount, description.default_step_count)),
             .guidance_scale = static_cast<float>(
                 options_.guidance_scale.value_or(description.default_guidance_scale)),
             .seed = options_.seed};
    sensitivity_.weights_sha256 = trials_->weights_sha256();
    sensitivity_.scope = spec.scope;
    sensitivity_.sampler = draw_.samplers.front();
    sensitivity_.step_count = draw_.step_count;
    sensitivity_.prompt_count = static_cast<int32_t>(prompts_.size());
    sensitivity_.seed = draw_.seed;
    sensitivity_.width_px = draw_.width_px;
    sensitivity_.height_px = draw_.height_px;
    return OkStatus();
  }

  // Whatever changes a measurement stands in the first line.
  Status OpenLog() {
    std::string prompts;
    for (const Prompt& prompt : prompts_) prompts += prompt.text + "\n";
    const Json header = {{"weights_sha256", sensitivity_.weights_sha256},
                         {"scope", sensitivity_.scope},
                         {"compute_dtype", options_.compute_dtype},
                         {"sampler", sensitivity_.sampler},
                         {"step_count", draw_.step_count},
                         {"guidance_scale", draw_.guidance_scale},
                         {"width_px", draw_.width_px},
                         {"height_px", draw_.height_px},
                         {"seed", draw_.seed},
                         {"prompts_sha256", Sha256::HexDigestOf(prompts)}};
    TF_ASSIGN_OR_RETURN(log_,
                        SensitivityLog::Open(options_.out + "/sensitivity.jsonl", header.dump()));
    return OkStatus();
  }

  Result<std::vector<DrawnImage>> DrawAll(bool with_images) {
    std::vector<DrawnImage> drawn;
    for (size_t i = 0; i < prompts_.size(); ++i) {
      TF_ASSIGN_OR_RETURN(drawn.emplace_back(),
                          DrawOne(*model_, prompts_[i], draw_, i, with_images, stop_));
    }
    return drawn;
  }

  Status MeasureLayer(const std::string& layer, WeightFormat format) {
    const std::string name(InfoOf(format).name);
    const LayerMeasurement* const known = log_->Find(layer, name);
    if (known != nullptr && (!known->errors.empty() || !known->noise.has_value())) {
      return OkStatus();
    }
    LayerMeasurement measurement{.layer = layer, .format = name, .noise = {}, .errors = {}};
    TF_ASSIGN_OR_RETURN(measurement.noise, trials_->Pack(layer, format));
    if (measurement.noise.has_value()) {
      const auto drawn = DrawAll(/*with_images=*/false);
      trials_->Restore();
      TF_RETURN_IF_ERROR(drawn.status());
      for (size_t i = 0; i < prompts_.size(); ++i) {
        measurement.errors.push_back(EnergyRatio(reference_[i].latents, (*drawn)[i].latents));
      }
    }
    return log_->Add(std::move(measurement));
  }

  Status MeasureNoise(const std::string& layer, WeightFormat format) {
    const std::string name(InfoOf(format).name);
    if (log_->Find(layer, name) != nullptr) return OkStatus();
    if (stop_.stop_requested()) return {StatusCode::kCancelled, "CANCELLED", "interrupted"};
    LayerMeasurement measurement{.layer = layer, .format = name, .noise = {}, .errors = {}};
    TF_ASSIGN_OR_RETURN(measurement.noise, trials_->MeasureNoise(layer, format));
    return log_->Add(std::move(measurement));
  }

  Result<JointMeasurement> MeasureJointly(WeightFormat format) {
    JointMeasurement joint{.format = std::string(InfoOf(format).name)};
    const auto index =
        std::ranges::find(sensitivity_.formats, format) - sensitivity_.formats.begin();
    for (const std::string& layer : trials_->layers()) {
      TF_RETURN_IF_ERROR(trials_->Pack(layer, format).status());
      joint.predicted_error += sensitivity_.layers.at(layer)[index].value_or(0.0);
    }
    const auto drawn = DrawAll(/*with_images=*/true);
    trials_->Restore();
    TF_RETURN_IF_ERROR(drawn.status());
    // Decibels are averaged, so errors are multiplied.
    double log_error = 0.0;
    for (size_t i = 0; i < prompts_.size(); ++i) {
      const DrawnImage& image = (*drawn)[i];
      log_error += std::log(std::max(EnergyRatio(reference_[i].latents, image.latents), 1e-12));
      joint.image_psnr_db += std::min(ImagePsnrDb(reference_[i].image.rgb, image.image.rgb), 100.0);
    }
    const auto count = static_cast<double>(prompts_.size());
    joint.latent_error = std::exp(log_error / count);
    joint.image_psnr_db /= count;
    return joint;
  }

  DeviceRuntime& runtime_;
  const FidelityOptions& options_;
  const std::stop_token stop_;
  const OnProgress& on_progress_;
  std::vector<Prompt> prompts_;
  std::vector<WeightFormat> measured_formats_;
  std::unique_ptr<DiffusionModel> model_;
  std::unique_ptr<LayerTrials> trials_;
  std::unique_ptr<SensitivityLog> log_;
  DrawOptions draw_;
  std::vector<DrawnImage> reference_;
  Sensitivity sensitivity_;
};

Status WriteFile(const std::string& path, const std::string& text) {
  TF_ASSIGN_OR_RETURN(const auto file, weights::OutputFile::Create(path, ""));
  TF_RETURN_IF_ERROR(file->Write(text.data(), text.size()));
  return file->Commit();
}

}  // namespace

Result<Sensitivity> MeasureSensitivity(const FidelityOptions& options, const std::stop_token& stop,
                                       const OnProgress& on_progress) {
  DeviceRuntime runtime(
      "cpu", options.thread_count > 0 ? options.thread_count : ReadCpuShare().thread_count(),
      /*host_cache_bytes=*/0);
  runtime.LeaveCostsOut();
  runtime.InitThread();
  const OpenMpWaiting waiting(/*sleeps_always=*/false, {});
  return TrialRun(runtime, options, stop, on_progress).Measure();
}

// The file first: until model.json lists it nothing reads it.
Status StoreSensitivity(const std::string& model_directory, const Sensitivity& sensitivity) {
  const std::string manifest = model_directory + "/model.json";
  TF_ASSIGN_OR_RETURN(const std::string before, cli::ReadWholeFile(manifest, kMaxManifestBytes));
  TF_RETURN_IF_ERROR(ReadModelDirectory(model_directory).status());
  Json json = Json::parse(before);
  const std::string text = SensitivityText(sensitivity);
  TF_RETURN_IF_ERROR(WriteFile(model_directory + "/" + kSensitivityFile, text));
  json["sensitivity"] = {
      {"file", kSensitivityFile}, {"bytes", text.size()}, {"sha256", Sha256::HexDigestOf(text)}};
  return WriteFile(manifest, json.dump(2) + "\n");
}

}  // namespace tightfit::fidelity
