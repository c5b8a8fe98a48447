#include "client/fidelity/fidelity_run.h"

#include "client/cli/whole_file.h"
#include "client/fidelity/prompt_list.h"
#include "client/fidelity/recognition.h"
#include "client/fidelity/weight_fidelity.h"
#include "server/base/component_formats.h"
#include "server/base/cpu_share.h"
#include "server/base/openmp_waiting.h"
#include "server/base/parse_number.h"
#include "server/model/model_directory.h"
#include "server/pipeline/device_runtime.h"
#include "server/pipeline/model_loader.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace tightfit::fidelity {
namespace {

constexpr size_t kMaxPromptListBytes = 64 << 20;

// How the weights of one row are held.
struct Weights {
  std::string name;  // of the row
  std::string path;
  std::string format = "fp16";
  std::string scope = "linear+conv";
  double budget_mib = 0.0;
  std::string compute_dtype;
};

// As model.json has it; what is wrong with a directory is told when it is loaded.
std::string NameOf(const std::string& path) {
  const Result<ModelDirectory> directory = ReadModelDirectory(path);
  return directory.ok() ? directory->name : "model";
}

class Run {
 public:
  Run(DeviceRuntime& runtime, const FidelityOptions& options, const std::stop_token& stop,
      const OnProgress& on_progress)
      : runtime_(runtime), options_(options), stop_(stop), on_progress_(on_progress) {}

  Result<FidelityResult> Measure() {
    TF_RETURN_IF_ERROR(ReadInputs());
    const std::string reference_path = options_.against.empty() ? options_.model : options_.against;
    const Weights reference{.name = options_.against.empty() ? "unpacked" : "reference",
                            .path = reference_path,
                            .compute_dtype = options_.compute_dtype};
    TF_RETURN_IF_ERROR(AddReference(reference));
    const Status status = AddOthers(reference);
    if (stop_.stop_requested()) {
      report_.is_complete = false;
    } else if (!status.ok()) {
      return status;
    }
    return FidelityResult{.report = std::move(report_), .contact_sheet = sheet_->Render()};
  }

 private:
  Status ReadInputs() {
    TF_ASSIGN_OR_RETURN(const std::string text,
                        cli::ReadWholeFile(options_.prompts, kMaxPromptListBytes));
    TF_ASSIGN_OR_RETURN(report_.prompts, ParsePrompts(text));
    if (options_.prompt_limit > 0 &&
        report_.prompts.size() > static_cast<size_t>(options_.prompt_limit)) {
      report_.prompts.resize(options_.prompt_limit);
    }
    TF_RETURN_IF_ERROR(CheckClasses(report_.prompts, !options_.classes.empty()));
    report_.seed_count = options_.seed_count;
    for (int32_t i = 0; i < options_.seed_count; ++i) {
      images_.insert(images_.end(), report_.prompts.begin(), report_.prompts.end());
    }
    if (!options_.classes.empty()) {
      TF_ASSIGN_OR_RETURN(classes_, ImageClasses::Load(options_.classes));
      report_.class_count = static_cast<int32_t>(classes_->size());
      for (const Prompt& prompt : report_.prompts) {
        if (prompt.class_name.empty()) continue;
        report_.labelled_prompt_count += options_.seed_count;
        if (!classes_->Find(prompt.class_name).has_value()) {
          return {StatusCode::kInvalidArgument, "UNKNOWN_CLASS",
                  "--prompts: the classes have no \"" + prompt.class_name + "\""};
        }
      }
    }
    TF_ASSIGN_OR_RETURN(weights_, WeightFidelity::Open(options_.model));
    row_count_ = 1 + (options_.with_floors ? 3 : 0) + (options_.against.empty() ? 0 : 1) +
                 static_cast<int64_t>(options_.formats.size() * options_.scopes.size() +
                                      options_.budgets.size());
    return OkStatus();
  }

  Result<std::unique_ptr<DiffusionModel>> Load(const Weights& weights) {
    on_progress_(weights.name, images_done_, ImageCount());
    return LoadDiffusionModel(runtime_,
                              {.name = NameOf(weights.path),
                               .path = weights.path,
                               .format = weights.format,
                               .scope = weights.scope,
                               .budget_mib = weights.budget_mib,
                               .compute_dtype = weights.compute_dtype,
                               .exclude = {}},
                              [](const LoadProgress&) { return true; });
  }

  Status AddReference(const Weights& weights) {
    TF_ASSIGN_OR_RETURN(const std::unique_ptr<DiffusionModel> model, Load(weights));
    const ModelDescription& description = model->description();
    for (const std::string& sampler : options_.samplers) {
      const auto& known = description.samplers;
      if (std::find(known.begin(), known.end(), sampler) == known.end()) {
        return {StatusCode::kInvalidArgument, "UNKNOWN_SAMPLER",
                "--samplers: the model has no \"" + sampler + "\""};
      }
    }
    report_.model = description.name;
    report_.model_hash = description.hash;
    report_.compute_dtype = description.compute_dtype;
    report_.options = {.samplers = options_.samplers,
                       .width_px = options_.width_px.value_or(description.default_width_px),
                       .height_px = options_.height_px.value_or(description.default_height_px),
                       .step_count = options_.step_count.value_or(description.default_step_count),
                       .guidance_scale = static_cast<float>(
                           options_.guidance_scale.value_or(description.default_guidance_scale)),
                       .seed = options_.seed};
    const int32_t multiple = description.pixels_per_latent;
    if (report_.options.width_px % multiple != 0 || report_.options.height_px % multiple != 0) {
      return InvalidArgument("--width, --height: must be multiples of " + std::to_string(multiple));
    }
    std::vector<std::string> labels;
    for (const Prompt& prompt : report_.prompts) labels.push_back(prompt.text);
    sheet_.emplace(std::move(labels));
    return AddRow(*model, weights, report_.options, {}, &reference_);
  }

  Status AddOthers(const Weights& reference) {
    if (options_.with_floors) {
      TF_RETURN_IF_ERROR(AddAgain(reference));
      TF_RETURN_IF_ERROR(AddBf16(reference));
    }
    if (!options_.against.empty()) {
      TF_RETURN_IF_ERROR(LoadAndAddRow(
          {.name = "unpacked", .path = options_.model, .compute_dtype = options_.compute_dtype},
          {}));
    }
    for (const std::string& format : options_.formats) {
      for (const std::string& scope : options_.scopes) {
        TF_RETURN_IF_ERROR(LoadAndAddRow({.name = format,
                                          .path = options_.model,
                                          .format = format,
                                          .scope = scope,
                                          .compute_dtype = options_.compute_dtype},
                                         scope));
      }
    }
    for (const std::string& budget : options_.budgets) {
      TF_RETURN_IF_ERROR(LoadAndAddRow({.name = "budget of " + budget,
                                        .path = options_.model,
                                        .format = kAutoFormat,
                                        .budget_mib = BudgetMib(budget),
                                        .compute_dtype = options_.compute_dtype},
                                       kDefaultScope));
    }
    return OkStatus();
  }

  // A number, or what a row that was drawn before takes.
  double BudgetMib(const std::string& budget) const {
    for (const RowFidelity& row : report_.rows) {
      if (row.name == budget && row.scope == kDefaultScope) {
        return static_cast<double>(row.resident_bytes) / (1 << 20);
      }
    }
    const Result<double> mib = ParseFraction(budget, 0.0, 1e6);
    return mib.ok() ? *mib : 0.0;
  }

  // The reference loaded and drawn again, and drawn from the next seed.
  Status AddAgain(Weights weights) {
    weights.name = "the same again";
    TF_ASSIGN_OR_RETURN(const std::unique_ptr<DiffusionModel> model, Load(weights));
    Drawing drawing;
    TF_RETURN_IF_ERROR(AddRow(*model, weights, report_.options, {}, &drawing));
    weights.name = "the next seed";
    DrawOptions options = report_.options;
    ++options.seed;
    return AddRow(*model, weights, options, {}, &drawing);
  }

  // Where the model has no graphs for bf16, or is computed in it anyhow, there is no such row.
  Status AddBf16(Weights weights) {
    weights.name = "computed in bf16";
    weights.compute_dtype = "bf16";
    --row_count_;
    if (report_.compute_dtype == "bf16") return OkStatus();
    auto model = Load(weights);
    if (model.status().reason() == "COMPUTE_DTYPE_UNAVAILABLE") return OkStatus();
    TF_RETURN_IF_ERROR(model.status());
    ++row_count_;
    Drawing drawing;
    return AddRow(**model, weights, report_.options, {}, &drawing);
  }

  Status LoadAndAddRow(const Weights& weights, const std::string& scope) {
    TF_ASSIGN_OR_RETURN(const std::unique_ptr<DiffusionModel> model, Load(weights));
    Drawing drawing;
    return AddRow(*model, weights, report_.options, scope, &drawing);
  }

  // Draws into `drawing` and measures it against the reference, which may be the same object.
  Status AddRow(DiffusionModel& model, const Weights& weights, const DrawOptions& options,
                const std::string& scope, Drawing* drawing) {
    const auto start = std::chrono::steady_clock::now();
    TF_ASSIGN_OR_RETURN(*drawing, Draw(model, images_, options, stop_, [&] {
      on_progress_(weights.name, ++images_done_, ImageCount());
    }));
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    RowFidelity row{.name = weights.name, .scope = scope};
    row.seconds_per_image = seconds / static_cast<double>(images_.size() * options.samplers.size());
    for (const ComponentDescription& component : model.description().components) {
      row.resident_bytes += component.weight_bytes;
      if (component.name != "unet") continue;
      row.unet_weight_bytes = component.weight_bytes;
      row.unpacked_module_count = static_cast<int32_t>(component.unpacked_modules.size());
    }
    if (!scope.empty() && weights.budget_mib == 0.0) {
      TF_ASSIGN_OR_RETURN(row.weights, weights_->Measure(weights.format, scope, stop_));
    }
    MeasureDrawing(reference_, *drawing, images_, options.samplers,
                   classes_.has_value() ? &*classes_ : nullptr, &row);
    if (!drawing->by_sampler.empty()) {
      std::vector<const RgbImage*> images;
      for (size_t i = 0; i < report_.prompts.size(); ++i) {
        images.push_back(&drawing->by_sampler.front()[i].image);
      }
      sheet_->AddRow(scope.empty() ? weights.name : weights.name + " " + scope, images);
    }
    report_.rows.push_back(std::move(row));
    return OkStatus();
  }

  int64_t ImageCount() const {
    return row_count_ * static_cast<int64_t>(images_.size() * options_.samplers.size());
  }

  DeviceRuntime& runtime_;
  const FidelityOptions& options_;
  const std::stop_token stop_;
  const OnProgress& on_progress_;
  FidelityReport report_;
  std::vector<Prompt> images_;  // the prompts, once for each seed
  std::optional<ImageClasses> classes_;
  std::optional<ContactSheet> sheet_;
  std::unique_ptr<WeightFidelity> weights_;
  Drawing reference_;
  int64_t row_count_ = 0;
  int64_t images_done_ = 0;
};

}  // namespace

Result<FidelityResult> RunFidelity(const FidelityOptions& options, const std::stop_token& stop,
                                   const OnProgress& on_progress) {
  DeviceRuntime runtime(
      "cpu", options.thread_count > 0 ? options.thread_count : ReadCpuShare().thread_count(),
      /*host_cache_bytes=*/0);
  runtime.LeaveCostsOut();
  runtime.InitThread();
  const OpenMpWaiting waiting(/*sleeps_always=*/false, {});
  return Run(runtime, options, stop, on_progress).Measure();
}

}  // namespace tightfit::fidelity
