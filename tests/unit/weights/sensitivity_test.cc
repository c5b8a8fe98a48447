#include "server/weights/sensitivity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <string>

namespace tightfit {
namespace {

using testing::HasSubstr;
using Json = nlohmann::json;

Sensitivity Sample() {
  return {.weights_sha256 = std::string(64, 'a'),
          .scope = "linear+conv",
          .measured_formats = {"nf4"},
          .sampler = "euler",
          .step_count = 8,
          .prompt_count = 6,
          .seed = 1,
          .width_px = 64,
          .height_px = 64,
          .formats = {WeightFormat::kE2m5r, WeightFormat::kNf4},
          .layers = {{"conv_in", {1.25e-7, 3.5e-5}}, {"mid.to_q", {0.0, std::nullopt}}},
          .joint = {{"e2m5r", 1e-5, 1.1e-5, 50.0}, {"e2m3r", 1e-3, 1.2e-3, 30.0}}};
}

Json Document() { return Json::parse(SensitivityText(Sample())); }

TEST(SensitivityTest, WhatIsWrittenIsRead) {
  const auto read = ParseSensitivity(SensitivityText(Sample()));
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(read->weights_sha256, Sample().weights_sha256);
  EXPECT_EQ(read->scope, "linear+conv");
  EXPECT_EQ(read->formats, Sample().formats);
  EXPECT_EQ(read->layers, Sample().layers);
  ASSERT_EQ(read->joint.size(), 2u);
  EXPECT_EQ(read->joint[1].format, "e2m3r");
  EXPECT_EQ(read->joint[1].image_psnr_db, 30.0);
  EXPECT_EQ(SensitivityText(*read), SensitivityText(Sample()));
}

TEST(SensitivityTest, ALayerIsOneLineOfTheFile) {
  EXPECT_THAT(SensitivityText(Sample()), HasSubstr("\n  \"conv_in\": [1.25e-07,3.5e-05],\n"));
  EXPECT_THAT(SensitivityText(Sample()), HasSubstr("\n  \"mid.to_q\": [0.0,null]\n"));
}

TEST(SensitivityTest, WhatIsWrongIsNamedByItsKey) {
  const auto problem = [](const auto& change) {
    Json json = Document();
    change(json);
    return ParseSensitivity(json.dump()).status().message();
  };
  EXPECT_EQ(problem([](Json&) {}), "");  // the control
  EXPECT_THAT(problem([](Json& json) { json["version"] = 2; }), HasSubstr("version"));
  EXPECT_THAT(problem([](Json& json) { json["formats"] = {"e2m5r"}; }),
              HasSubstr("layers.conv_in must be 1 numbers"));
  EXPECT_THAT(problem([](Json& json) {
                json["formats"] = {"e2m5r", "hf9"};
              }),
              HasSubstr("formats must be names of formats"));
  EXPECT_THAT(problem([](Json& json) {
                json["formats"] = {"nf4", "nf4"};
              }),
              HasSubstr("each once"));
  EXPECT_THAT(problem([](Json& json) { json["layers"]["conv_in"][0] = -1e-9; }),
              HasSubstr("layers.conv_in"));
  EXPECT_THAT(problem([](Json& json) { json["layers"]["conv_in"][0] = "0"; }),
              HasSubstr("layers.conv_in"));
  EXPECT_THAT(problem([](Json& json) { json["layers"] = Json::object(); }), HasSubstr("layers"));
  EXPECT_THAT(problem([](Json& json) { json["scope"] = "conv"; }), HasSubstr("scope"));
  EXPECT_THAT(problem([](Json& json) { json["joint"][1]["image_psnr_db"] = 60.0; }),
              HasSubstr("joint"));
  EXPECT_THAT(problem([](Json& json) { json["joint"][0]["predicted_error"] = 0.0; }),
              HasSubstr("joint[0].predicted_error"));
  EXPECT_THAT(problem([](Json& json) { json["joint"] = {1}; }), HasSubstr("joint"));
  EXPECT_FALSE(ParseSensitivity("[]").ok());
  EXPECT_FALSE(ParseSensitivity("{\"layers\":{\"a\":[1],\"a\":[1]}}").ok());
}

TEST(SensitivityTest, PsnrGoesThroughWhatWasMeasuredAndInStraightLinesBetween) {
  const Sensitivity sample = Sample();
  EXPECT_NEAR(sample.PsnrForError(1e-5), 50.0, 1e-9);
  EXPECT_NEAR(sample.PsnrForError(1e-3), 30.0, 1e-9);
  EXPECT_NEAR(sample.PsnrForError(1e-4), 40.0, 1e-9);
  EXPECT_NEAR(sample.PsnrForError(1e-6), 60.0, 1e-9);
  EXPECT_NEAR(sample.PsnrForError(1e-2), 20.0, 1e-9);
  EXPECT_TRUE(std::isinf(sample.PsnrForError(0.0)));
}

TEST(SensitivityTest, ErrorForAPsnrIsTheOtherWayRound) {
  Sensitivity sample = Sample();
  sample.joint.push_back({"nf4", 1e-1, 5e-2, 24.0});  // flatter from here on
  for (double psnr_db = 10.0; psnr_db < 70.0; psnr_db += 3.0) {
    EXPECT_NEAR(sample.PsnrForError(sample.ErrorForPsnr(psnr_db)), psnr_db, 1e-6);
  }
  EXPECT_GT(sample.ErrorForPsnr(25.0), sample.ErrorForPsnr(26.0));
}

TEST(SensitivityTest, OneMeasurementGivesADecibelForADecibel) {
  Sensitivity sample = Sample();
  sample.joint.resize(1);
  EXPECT_NEAR(sample.PsnrForError(1e-4), 40.0, 1e-9);
  EXPECT_NEAR(sample.ErrorForPsnr(40.0), 1e-4, 1e-12);
}

}  // namespace
}  // namespace tightfit
