#include "client/fidelity/fidelity_report.h"

#include <nlohmann/json.hpp>

#include <cmath>

namespace tightfit::fidelity {
namespace {

using Json = nlohmann::ordered_json;

Json SummaryJson(const DecibelSummary& summary) {
  const bool differs = summary.different_count > 0;
  return {{"mean_db", differs ? Json(summary.mean_db) : Json(nullptr)},
          {"worst_db", differs ? Json(summary.worst_db) : Json(nullptr)},
          {"identical_count", summary.identical_count},
          {"different_count", summary.different_count}};
}

Json RowJson(const RowFidelity& row) {
  Json json = {{"name", row.name},
               {"scope", row.scope.empty() ? Json(nullptr) : Json(row.scope)},
               {"unet_weight_bytes", row.unet_weight_bytes},
               {"resident_bytes", row.resident_bytes},
               {"unpacked_module_count", row.unpacked_module_count},
               {"weight_sqnr_db", nullptr},
               {"unet_output_sqnr", SummaryJson(row.unet_output_sqnr)},
               {"one_step_latent_psnr", SummaryJson(row.one_step_latent_psnr)},
               {"seconds_per_picture", row.seconds_per_image},
               {"samplers", Json::array()}};
  if (row.weights.has_value() && std::isfinite(row.weights->SqnrDb())) {
    json["weight_sqnr_db"] = row.weights->SqnrDb();
  }
  for (const SamplerFidelity& sampler : row.samplers) {
    json["samplers"].push_back(
        {{"sampler", sampler.sampler},
         {"latent_psnr", SummaryJson(sampler.latent_psnr)},
         {"latent_cosine",
          {{"mean", sampler.trajectory.mean_cosine},
           {"worst", sampler.trajectory.worst_cosine},
           {"largest_drop", sampler.trajectory.largest_drop}}},
         {"bifurcated_count", sampler.trajectory.bifurcated_count},
         {"picture_psnr", SummaryJson(sampler.image_psnr)},
         {"mean_ssim", sampler.mean_ssim},
         {"worst_ssim", sampler.worst_ssim},
         {"recognised_count",
          sampler.recognised_count.has_value() ? Json(*sampler.recognised_count) : Json(nullptr)}});
  }
  return json;
}

}  // namespace

std::string ReportJson(const FidelityReport& report) {
  Json json = {{"model", report.model},
               {"model_hash", report.model_hash},
               {"compute_dtype", report.compute_dtype},
               {"width_px", report.options.width_px},
               {"height_px", report.options.height_px},
               {"step_count", report.options.step_count},
               {"guidance_scale", report.options.guidance_scale},
               {"seed", report.options.seed},
               {"seed_count", report.seed_count},
               {"class_count", report.class_count},
               {"labelled_prompt_count", report.labelled_prompt_count},
               {"is_complete", report.is_complete},
               {"prompts", Json::array()},
               {"rows", Json::array()}};
  for (const Prompt& prompt : report.prompts) json["prompts"].push_back(prompt.text);
  for (const RowFidelity& row : report.rows) json["rows"].push_back(RowJson(row));
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace tightfit::fidelity
