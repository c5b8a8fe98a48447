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

// A fall of the cosine of the latents by more than this in one step makes another image of it: what
// HSWQ (ussoewwin/Hybrid-Sensitivity-Weighted-Quantization) counts as bifurcated.
inline constexpr double kBifurcationDrop = 0.05;

// How the latents of images came apart from the reference's, step by step.
struct TrajectorySummary {
  double mean_cosine = 0;  // after all steps
  double worst_cosine = 0;
  double largest_drop = 0;  // of the cosine, in one step of one image; at least 0
  int32_t bifurcated_count = 0;
};
// Images in the same order, with trajectories of one length.
TrajectorySummary SummarizeTrajectories(const std::vector<DrawnImage>& reference,
                                        const std::vector<DrawnImage>& measured);

struct SamplerFidelity {
  std::string sampler;
  DecibelSummary latent_psnr;
  TrajectorySummary trajectory;
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
  int32_t seed_count = 1;             // that each prompt is drawn from
  int32_t class_count = 0;            // 0: no classes were given
  int32_t labelled_prompt_count = 0;  // images whose prompt names a class
  std::vector<RowFidelity> rows;      // the reference first
  bool is_complete = true;            // false: Ctrl-C ended the run before its last row
};

// Holds `measured` against `reference`; `prompts` has one for each image. `classes` may be null.
// Fills the figures that come from images and latents.
void MeasureDrawing(const Drawing& reference, const Drawing& measured,
                    const std::vector<Prompt>& prompts, const std::vector<std::string>& samplers,
                    const ImageClasses* classes, RowFidelity* row);

// Markdown with one table.
std::string ReportMarkdown(const FidelityReport& report);
// Keys: client/fidelity/JSON.md.
std::string ReportJson(const FidelityReport& report);

}  // namespace tightfit::fidelity

#endif  // TIGHTFIT_CLIENT_FIDELITY_FIDELITY_REPORT_H_
