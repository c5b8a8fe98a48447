// What a run measured, and how it is told.
#ifndef TIGHTFIT_CLIENT_FIDELITY_FIDELITY_REPORT_H_
#define TIGHTFIT_CLIENT_FIDELITY_FIDELITY_REPORT_H_

#include "client/fidelity/drawing.h"
#include "client/fidelity/recognition.h"
#include "kernels/distortion.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tightfit::fidelity {

// Over some prompts. Decibels of what equals the reference are infinite and would spoil a mean, so
// such ones are counted apart.
struct DecibelSummary {
  double mean_db = 0;  // over those that differ
  double worst_db = 0;
  int32_t identical_count = 0;
  int32_t different_count = 0;
};
DecibelSummary Summarize(const std::vector<double>& decibels);

struct SamplerFidelity {
  std::string sampler;
  DecibelSummary latent_psnr;
  DecibelSummary image_psnr;
  double mean_ssim = 0;
  double worst_ssim = 0;
  // Of the prompts that name a class, those whose image is nearest to it; nullopt without
  // classes.
  std::optional<int32_t> recognised_count;
};

struct RowFidelity {
  std::string name;   // a format, or what else was changed: "next seed"
  std::string scope;  // empty: not packed
  std::optional<Distortion> weights;
  DecibelSummary unet_output_sqnr;  // after one step of euler
  DecibelSummary one_step_latent_psnr;
  std::vector<SamplerFidelity> samplers;
  int64_t unet_weight_bytes = 0;
  int64_t resident_bytes = 0;  // weights of all components
  int32_t unpacked_module_count = 0;
  double seconds_per_image = 0;
};

struct FidelityReport {
  std::string model;
  std::string model_hash;
  std::string compute_dtype;
  DrawOptions options;
  std::vector<Prompt> prompts;
  int32_t class_count = 0;            // 0: no classes were given
  int32_t labelled_prompt_count = 0;  // prompts that name a class
  std::vector<RowFidelity> rows;      // the reference first
  bool is_complete = true;            // false: Ctrl-C ended the run before its last row
};

// Holds `measured` against `reference`. `classes` may be null. Fills the figures that come from
// images and latents.
void MeasureDrawing(const Drawing& reference, const Drawing& measured,
                    const std::vector<Prompt>& prompts, const std::vector<std::string>& samplers,
                    const ImageClasses* classes, RowFidelity* row);

// Markdown with one table.
std::string ReportMarkdown(const FidelityReport& report);
// Keys: client/fidelity/JSON.md.
std::string ReportJson(const FidelityReport& report);

}  // namespace tightfit::fidelity

#endif  // TIGHTFIT_CLIENT_FIDELITY_FIDELITY_REPORT_H_
