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
  EXPECT_NE(
      ReportMarkdown(ReportOf(row))
          .find("| identical | identical | identical | 1.00000 (1.00000) | 0/1 | identical |"),
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

// Latents of two numbers, at `degrees` from the axis: cosines between them are those of angles.
std::vector<float> At(double degrees, double length = 1.0) {
  const double angle = degrees * 3.14159265358979323846 / 180;
  return {static_cast<float>(length * std::cos(angle)),
          static_cast<float>(length * std::sin(angle))};
}

// The last angle is that of the final latents.
DrawnImage ImageAt(std::vector<double> degrees, double length = 1.0) {
  DrawnImage drawn{.latents = At(degrees.back(), length)};
  degrees.pop_back();
  for (const double each : degrees) drawn.trajectory.push_back(At(each, length));
  return drawn;
}

TEST(SummarizeTrajectories, CountsAFallInOneStepAndNotASlide) {
  const std::vector<DrawnImage> reference(3, ImageAt({0, 0, 0, 0}));
  // 18.1 degrees are a cosine of 0.9505, 18.3 one of 0.9494. Falls from 1: 0.0495 and 0.0506.
  const auto of_last = [&](const std::vector<double>& degrees) {
    return SummarizeTrajectories(reference,
                                 {ImageAt({0, 0, 0, 0}), ImageAt({0, 0, 0, 0}), ImageAt(degrees)});
  };
  EXPECT_EQ(of_last({0, 0, 18.1, 18.1}).bifurcated_count, 0);
  EXPECT_EQ(of_last({0, 0, 18.3, 18.3}).bifurcated_count, 1);
  EXPECT_EQ(of_last({0, 0, 0, 18.3}).bifurcated_count, 1) << "in the last step";
  EXPECT_EQ(of_last({0, 18.3, 0, 0}).bifurcated_count, 1) << "though it came back";
  const TrajectorySummary slide = of_last({0, 17, 24, 29});
  EXPECT_EQ(slide.bifurcated_count, 0) << "further away, but in no step by 0.05";
  EXPECT_NEAR(slide.worst_cosine, std::cos(29 * 3.14159265358979 / 180), 1e-6);
  EXPECT_NEAR(slide.mean_cosine, (2 + slide.worst_cosine) / 3, 1e-9);
  EXPECT_NEAR(slide.largest_drop, 1 - std::cos(17 * 3.14159265358979 / 180), 1e-6);
}

TEST(SummarizeTrajectories, OtherNoiseIsNoFallAndAllFallsOfOneImageCountOnce) {
  const std::vector<DrawnImage> reference(2, ImageAt({0, 0, 0, 0}));
  EXPECT_EQ(SummarizeTrajectories(reference, {ImageAt({90, 60, 30, 0}), ImageAt({80, 80, 80, 80})})
                .bifurcated_count,
            0);
  EXPECT_EQ(SummarizeTrajectories(reference, {ImageAt({0, 30, 60, 90}), ImageAt({0, 0, 0, 0})})
                .bifurcated_count,
            1);
}

TEST(SummarizeTrajectories, ALengthIsNoDirection) {
  const std::vector<DrawnImage> reference{ImageAt({10, 20, 30})};
  const TrajectorySummary same = SummarizeTrajectories(reference, reference);
  EXPECT_EQ(same.mean_cosine, 1.0);
  const std::vector<DrawnImage> six(6, reference[0]);
  EXPECT_EQ(SummarizeTrajectories(six, six).mean_cosine, 1.0);
  EXPECT_EQ(same.largest_drop, 0.0);
  const TrajectorySummary longer = SummarizeTrajectories(reference, {ImageAt({10, 20, 30}, 3.0)});
  EXPECT_NEAR(longer.worst_cosine, 1.0, 1e-7);
  EXPECT_EQ(longer.bifurcated_count, 0);
}

TEST(FidelityReport, TellsCosinesAndBifurcationsInBothForms) {
  RowFidelity row{.name = "nf4", .scope = "linear+conv"};
  Drawing reference = DrawingOf(0.5f, 100);
  Drawing measured = DrawingOf(0.5f, 100);
  reference.by_sampler[0][0] = ImageAt({0, 0, 0});
  measured.by_sampler[0][0] = ImageAt({0, 0, 60});
  reference.by_sampler[0][0].image = measured.by_sampler[0][0].image = Flat(100);
  FidelityReport report = ReportOf(row);
  MeasureDrawing(reference, measured, report.prompts, {"euler"}, nullptr, &row);
  report = ReportOf(row);
  EXPECT_NE(ReportMarkdown(report).find("| 0.50000 (0.50000) | 1/1 |"), std::string::npos)
      << ReportMarkdown(report);
  const auto json = nlohmann::json::parse(ReportJson(report))["rows"][0]["samplers"][0];
  EXPECT_NEAR(json["latent_cosine"]["mean"].get<double>(), 0.5, 1e-6);
  EXPECT_NEAR(json["latent_cosine"]["largest_drop"].get<double>(), 0.5, 1e-6);
  EXPECT_EQ(json["bifurcated_count"], 1);
  report.seed_count = 25;
  EXPECT_NE(ReportMarkdown(report).find(" 1/25 |"), std::string::npos);
  EXPECT_NE(ReportMarkdown(report).find("seeds 1 to 25"), std::string::npos);
}

TEST(FidelityReport, SaysThatRowsAreMissing) {
  FidelityReport report = ReportOf({.name = "unpacked"});
  EXPECT_EQ(ReportMarkdown(report).find("interrupted"), std::string::npos);
  report.is_complete = false;
  EXPECT_NE(ReportMarkdown(report).find("interrupted"), std::string::npos);
}

}  // namespace
}  // namespace tightfit::fidelity
