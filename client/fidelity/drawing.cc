#include "client/fidelity/drawing.h"

#include "server/pipeline/model_loader.h"

#include <memory>
#include <optional>
#include <utility>

namespace tightfit::fidelity {
namespace {

GenerationParameters ParametersOf(const Prompt& prompt, const DrawOptions& options, size_t index,
                                  const std::string& sampler, int32_t step_count) {
  GenerationParameters parameters;
  parameters.prompt = prompt.text;
  parameters.width_px = options.width_px;
  parameters.height_px = options.height_px;
  parameters.step_count = step_count;
  parameters.guidance_scale = options.guidance_scale;
  parameters.sampler = sampler;
  parameters.seed = options.seed + static_cast<int64_t>(index);
  return parameters;
}

// `trajectory`, unless null, gets the latents before each step.
Status RunSteps(DiffusionModel& model, Sampling& sampling, const std::stop_token& stop,
                std::vector<std::vector<float>>* trajectory = nullptr) {
  Sampling* const member = &sampling;
  while (sampling.steps_done() < sampling.step_count()) {
    if (stop.stop_requested()) return {StatusCode::kCancelled, "CANCELLED", "interrupted"};
    if (trajectory != nullptr) trajectory->push_back(LatentsOf(sampling));
    TF_RETURN_IF_ERROR(model.Step(std::span(&member, 1)));
  }
  return OkStatus();
}

Result<OneStep> DrawOneStep(DiffusionModel& model, const GenerationParameters& parameters,
                            const std::stop_token& stop) {
  TF_ASSIGN_OR_RETURN(const std::unique_ptr<Sampling> sampling, model.Begin(parameters));
  OneStep step{.unet_output = LatentsOf(*sampling)};
  TF_RETURN_IF_ERROR(RunSteps(model, *sampling, stop));
  step.latents = LatentsOf(*sampling);
  // The last sigma is 0, so Euler's only step takes sigma * output from the noise.
  for (size_t i = 0; i < step.latents.size(); ++i) step.unet_output[i] -= step.latents[i];
  return step;
}

Result<DrawnImage> DrawImage(DiffusionModel& model, const GenerationParameters& parameters,
                             bool with_image, bool with_trajectory, const std::stop_token& stop) {
  TF_ASSIGN_OR_RETURN(const std::unique_ptr<Sampling> sampling, model.Begin(parameters));
  DrawnImage drawn;
  TF_RETURN_IF_ERROR(
      RunSteps(model, *sampling, stop, with_trajectory ? &drawn.trajectory : nullptr));
  drawn.latents = LatentsOf(*sampling);
  while (with_image && sampling->images_done() < sampling->image_count()) {
    TF_ASSIGN_OR_RETURN(std::optional<Image> image, model.DecodeNext(*sampling));
    if (!image.has_value()) continue;  // a tile
    drawn.image = {
        .width_px = image->width_px, .height_px = image->height_px, .rgb = std::move(image->rgb)};
  }
  return drawn;
}

}  // namespace

Result<DrawnImage> DrawOne(DiffusionModel& model, const Prompt& prompt, const DrawOptions& options,
                           size_t index, bool with_image, const std::stop_token& stop) {
  return DrawImage(
      model, ParametersOf(prompt, options, index, options.samplers.front(), options.step_count),
      with_image, /*with_trajectory=*/false, stop);
}

Result<Drawing> Draw(DiffusionModel& model, const std::vector<Prompt>& prompts,
                     const DrawOptions& options, const std::stop_token& stop,
                     const std::function<void()>& on_image) {
  Drawing drawing;
  for (size_t i = 0; i < prompts.size(); ++i) {
    TF_ASSIGN_OR_RETURN(OneStep step,
                        DrawOneStep(model, ParametersOf(prompts[i], options, i, "euler", 1), stop));
    drawing.one_step.push_back(std::move(step));
  }
  for (const std::string& sampler : options.samplers) {
    std::vector<DrawnImage>& images = drawing.by_sampler.emplace_back();
    for (size_t i = 0; i < prompts.size(); ++i) {
      TF_ASSIGN_OR_RETURN(
          DrawnImage drawn,
          DrawImage(model, ParametersOf(prompts[i], options, i, sampler, options.step_count),
                    /*with_image=*/true, /*with_trajectory=*/true, stop));
      images.push_back(std::move(drawn));
      on_image();
    }
  }
  return drawing;
}

}  // namespace tightfit::fidelity
