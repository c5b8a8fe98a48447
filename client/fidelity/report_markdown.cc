#include "client/fidelity/fidelity_report.h"

#include <fmt/format.h>

#include <cmath>

namespace tightfit::fidelity {
namespace {

std::string MeanText(const DecibelSummary& summary) {
  if (summary.different_count == 0) return "identical";
  return fmt::format("{:.1f}", summary.mean_db);
}

// "45.5 (38.2)": the mean, and the worst prompt.
std::string WorstText(const DecibelSummary& summary) {
  if (summary.different_count == 0) return "identical";
  return fmt::format("{:.1f} ({:.1f})", summary.mean_db, summary.worst_db);
}

// "0.99987 (0.99921)": the mean, and the worst image.
std::string CosineText(const TrajectorySummary& trajectory) {
  return fmt::format("{:.5f} ({:.5f})", trajectory.mean_cosine, trajectory.worst_cosine);
}

std::string WeightsText(const RowFidelity& row) {
  if (!row.weights.has_value()) return "";
  const double sqnr_db = row.weights->SqnrDb();
  return std::isfinite(sqnr_db) ? fmt::format("{:.1f}", sqnr_db) : "exact";
}

std::string MegabytesText(int64_t bytes) {
  return fmt::format("{:.2f}", static_cast<double>(bytes) / 1e6);
}

}  // namespace

std::string ReportMarkdown(const FidelityReport& report) {
  const DrawOptions& options = report.options;
  const int64_t image_count = static_cast<int64_t>(report.prompts.size()) * report.seed_count;
  std::string text = fmt::format(
      "Model {} ({}), computed in {}, {} prompts of {} seeds each at {}x{} px, {} steps, guidance "
      "{}, seeds {} to {}. In dB, mean over the images (worst in brackets), against the first row. "
      "Bifurcated: the cosine of an image's latents fell by more than {} in one step.\n\n",
      report.model, report.model_hash, report.compute_dtype, report.prompts.size(),
      report.seed_count, options.width_px, options.height_px, options.step_count,
      options.guidance_scale, options.seed, options.seed + image_count - 1, kBifurcationDrop);
  std::string heading =
      "| weights | scope | UNet MB | all MB | weight SQNR | UNet output SQNR | latents, 1 step |";
  std::string rule = "|---|---|---:|---:|---:|---:|---:|";
  for (const std::string& sampler : options.samplers) {
    heading += fmt::format(
        " {0}: latents | {0}: cosine | {0}: bifurcated | {0}: image PSNR | {0}: SSIM |", sampler);
    rule += "---:|---:|---:|---:|---:|";
    if (report.class_count > 0) {
      heading += fmt::format(" {}: recognised |", sampler);
      rule += "---:|";
    }
  }
  text += heading + "\n" + rule + "\n";
  for (const RowFidelity& row : report.rows) {
    text += fmt::format("| {} | {} | {} | {} | {} | {} | {} |", row.name, row.scope,
                        MegabytesText(row.unet_weight_bytes), MegabytesText(row.resident_bytes),
                        WeightsText(row), MeanText(row.unet_output_sqnr),
                        MeanText(row.one_step_latent_psnr));
    for (const SamplerFidelity& sampler : row.samplers) {
      text += fmt::format(" {} | {} | {}/{} | {} | {:.4f} |", MeanText(sampler.latent_psnr),
                          CosineText(sampler.trajectory), sampler.trajectory.bifurcated_count,
                          image_count, WorstText(sampler.image_psnr), sampler.mean_ssim);
      if (sampler.recognised_count.has_value()) {
        text += fmt::format(" {}/{} |", *sampler.recognised_count, report.labelled_prompt_count);
      }
    }
    text += "\n";
  }
  if (!report.is_complete) text += "\nThe run was interrupted: rows are missing.\n";
  return text;
}

}  // namespace tightfit::fidelity
