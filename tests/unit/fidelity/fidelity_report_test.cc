#include "client/fidelity/fidelity_report.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>

namespace tightfit::fidelity {
namespace {

RgbImage Flat(uint8_t value) {
  return {.width_px = 16, .height_px = 16, .rgb = std::vector<uint8_t>(16 * 16 * 3, value)};
}

Drawing DrawingOf(float latent, uint8_t value) {
  Drawing drawing;
  drawing.one_step.push_back({.latents = {1.0f, latent}, .unet_output = {2.0f, latent}});
  drawing.by_sampler.push_back({{.latents = {1.0f, latent}, .image = Flat(value)}});
  return drawing;
}

FidelityReport ReportOf(const RowFidelity& row) {
  FidelityReport report;
  report.model = "m";
  report.model_hash = "0123456789";
  report.compute_dtype = "fp32";
  report.options = {.samplers = {"euler"},
                    .width_px = 16,
                    .height_px = 16,
                    .step_count = 20,
                    .guidance_scale = 4.0f,
                    .seed = 1};
  report.prompts = {{.text = "a red apple", .class_name = "red apple"}};
  report.rows.push_back(row);
  return report;
}

TEST(Summarize, KeepsIdenticalOnesOutOfTheMean) {
  const DecibelSummary summary = Summarize({40.0, INFINITY, 30.0});
  EXPECT_DOUBLE_EQ(summary.mean_db, 35.0);
  EXPECT_DOUBLE_EQ(summary.worst_db, 30.0);
  EXPECT_EQ(summary.identical_count, 1);
  EXPECT_EQ(summary.different_count, 2);
}

TEST(FidelityReport, SaysIdenticalWhereNothingDiffers) {
  RowFidelity row{.name = "unpacked"};
  const Drawing drawing = DrawingOf(0.5f, 100);
  const FidelityReport report = ReportOf(row);
  MeasureDrawing(drawing, drawing, report.prompts, {"euler"}, nullptr, &row);
  EXPECT_NE(ReportMarkdown(ReportOf(row)).find("| identical | identical | identical | identical |"),
            std::string::npos);
  const auto json = nlohmann::json::parse(ReportJson(ReportOf(row)));
  EXPECT_TRUE(json["rows"][0]["samplers"][0]["picture_psnr"]["mean_db"].is_null());
  EXPECT_EQ(json["rows"][0]["samplers"][0]["picture_psnr"]["identical_count"], 1);
}

TEST(FidelityReport, MeasuresWhatDiffers) {
  RowFidelity row{.name = "hf8", .scope = "linear"};
  const FidelityReport empty = ReportOf(row);
  MeasureDrawing(DrawingOf(0.5f, 100), DrawingOf(0.6f, 110), empty.prompts, {"euler"}, nullptr,
                 &row);
  EXPECT_NEAR(row.samplers[0].image_psnr.mean_db, 28.1308, 1e-4);
  // An error of 0.1 in one of two numbers: beside the peak 1, and beside the energy 4.25.
  EXPECT_NEAR(row.one_step_latent_psnr.mean_db, 10 * std::log10(2 * 1.0 / 0.01), 1e-4);
  EXPECT_NEAR(row.unet_output_sqnr.mean_db, 10 * std::log10(4.25 / 0.01), 1e-4);
  EXPECT_FALSE(row.samplers[0].recognised_count.has_value());
}

TEST(FidelityReport, SaysThatRowsAreMissing) {
  FidelityReport report = ReportOf({.name = "unpacked"});
  EXPECT_EQ(ReportMarkdown(report).find("interrupted"), std::string::npos);
  report.is_complete = false;
  EXPECT_NE(ReportMarkdown(report).find("interrupted"), std::string::npos);
}

}  // namespace
}  // namespace tightfit::fidelity
