#include "client/fidelity/fidelity_report.h"

#include "client/fidelity/image_metrics.h"

#include <algorithm>
#include <cmath>

namespace tightfit::fidelity {

DecibelSummary Summarize(const std::vector<double>& decibels) {
  DecibelSummary summary;
  double sum = 0;
  for (const double db : decibels) {
    if (std::isinf(db) && db > 0) {
      ++summary.identical_count;
      continue;
    }
    summary.worst_db = summary.different_count == 0 ? db : std::min(summary.worst_db, db);
    ++summary.different_count;
    sum += db;
  }
  if (summary.different_count > 0) summary.mean_db = sum / summary.different_count;
  return summary;
}

TrajectorySummary SummarizeTrajectories(const std::vector<DrawnImage>& reference,
                                        const std::vector<DrawnImage>& measured) {
  TrajectorySummary summary{.worst_cosine = 1.0};
  for (size_t i = 0; i < reference.size(); ++i) {
    const double last = Cosine(reference[i].latents, measured[i].latents);
    double largest_drop = 0.0;
    std::vector<double> cosines;
    for (size_t step = 0; step < reference[i].trajectory.size(); ++step) {
      cosines.push_back(Cosine(reference[i].trajectory[step], measured[i].trajectory[step]));
    }
    cosines.push_back(last);
    // Images of other seeds begin with other noise: that is no fall.
    for (size_t step = 1; step < cosines.size(); ++step) {
      largest_drop = std::max(largest_drop, cosines[step - 1] - cosines[step]);
    }
    summary.mean_cosine += last;
    summary.worst_cosine = std::min(summary.worst_cosine, last);
    summary.largest_drop = std::max(summary.largest_drop, largest_drop);
    summary.bifurcated_count += largest_drop > kBifurcationDrop ? 1 : 0;
  }
  // Divided once, so that the mean of ones is one.
  if (!reference.empty()) summary.mean_cosine /= static_cast<double>(reference.size());
  return summary;
}

namespace {

SamplerFidelity MeasureSampler(const std::vector<DrawnImage>& reference,
                               const std::vector<DrawnImage>& measured,
                               const std::vector<Prompt>& prompts, const ImageClasses* classes) {
  SamplerFidelity fidelity;
  std::vector<double> latent_psnr;
  std::vector<double> image_psnr;
  fidelity.worst_ssim = 1.0;
  int32_t recognised = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    latent_psnr.push_back(LatentPsnrDb(reference[i].latents, measured[i].latents));
    image_psnr.push_back(ImagePsnrDb(reference[i].image.rgb, measured[i].image.rgb));
    const double ssim = Ssim(reference[i].image, measured[i].image);
    fidelity.mean_ssim += ssim / static_cast<double>(prompts.size());
    fidelity.worst_ssim = std::min(fidelity.worst_ssim, ssim);
    if (classes != nullptr && !prompts[i].class_name.empty()) {
      const size_t nearest = classes->Nearest(measured[i].image);
      recognised += classes->name(nearest) == prompts[i].class_name ? 1 : 0;
    }
  }
  fidelity.latent_psnr = Summarize(latent_psnr);
  fidelity.trajectory = SummarizeTrajectories(reference, measured);
  fidelity.image_psnr = Summarize(image_psnr);
  if (classes != nullptr) fidelity.recognised_count = recognised;
  return fidelity;
}

}  // namespace

void MeasureDrawing(const Drawing& reference, const Drawing& measured,
                    const std::vector<Prompt>& prompts, const std::vector<std::string>& samplers,
                    const ImageClasses* classes, RowFidelity* row) {
  std::vector<double> output_sqnr;
  std::vector<double> latent_psnr;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const OneStep& wanted = reference.one_step[i];
    const OneStep& got = measured.one_step[i];
    output_sqnr.push_back(SignalToNoiseDb(wanted.unet_output, got.unet_output));
    latent_psnr.push_back(LatentPsnrDb(wanted.latents, got.latents));
  }
  row->unet_output_sqnr = Summarize(output_sqnr);
  row->one_step_latent_psnr = Summarize(latent_psnr);
  for (size_t s = 0; s < samplers.size(); ++s) {
    row->samplers.push_back(
        MeasureSampler(reference.by_sampler[s], measured.by_sampler[s], prompts, classes));
    row->samplers.back().sampler = samplers[s];
  }
}

}  // namespace tightfit::fidelity
