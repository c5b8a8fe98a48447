#include "server/engine/memory_estimate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>

namespace tightfit {
namespace {

// Two layers take turns at being the largest: the kink lies at 250 latents, between two points.
double Kinked(double latents) { return std::max(1000.0 + latents, 4 * latents + 250.0); }

TEST(CallMemoryTest, GoesThroughItsPointsAndOnBeyondTheLast) {
  const CallMemory call = {
      .points = {{.latents = 10, .bytes = 100}, {.latents = 20, .bytes = 300}}};
  EXPECT_EQ(call.BytesAt(10), 100);
  EXPECT_EQ(call.BytesAt(15), 200);
  EXPECT_EQ(call.BytesAt(20), 300);
  EXPECT_EQ(call.BytesAt(30), 500);
  EXPECT_EQ(call.BytesAt(1), 100) << "an image of no size takes something too";
  EXPECT_EQ(CallMemory{}.BytesAt(10), 0);
}

TEST(CallMemoryTest, IsExactWhereOneLayerTakesOverFromAnother) {
  CallMemory call;
  for (const double latents : {50, 100, 200, 400, 800}) {
    call.points.push_back({.latents = latents, .bytes = Kinked(latents)});
  }
  for (double latents = 50; latents <= 2000; latents += 7) {
    EXPECT_NEAR(call.BytesAt(latents), Kinked(latents), 1e-6) << latents;
  }
}

TEST(CallMemoryTest, NeverPassesTheChordOfTwoPoints) {
  // What grows less and less: the lines of the neighbours lie above.
  const CallMemory call = {.points = {{.latents = 0, .bytes = 0},
                                      {.latents = 10, .bytes = 100},
                                      {.latents = 20, .bytes = 150},
                                      {.latents = 30, .bytes = 160}}};
  EXPECT_EQ(call.BytesAt(15), 125);
}

class EstimateRequestTest : public testing::Test {
 protected:
  EstimateRequestTest() {
    model_.pixels_per_latent = 8;
    model_.vae_tiling = "never";
    model_.memory.costs = RequestCosts{
        .encode_bytes = 50,
        .encode_chunk_bytes = 7,
        .row_bytes = 3,
        .row_latent_bytes = 0.5,
        .row_chunk_bytes = 2,
        .kept_latent_bytes = 0.25,
        .denoise_one = {.points = {{.latents = 0, .bytes = 100}, {.latents = 100, .bytes = 200}}},
        .denoise = {.points = {{.latents = 0, .bytes = 110}, {.latents = 100, .bytes = 310}}},
        .decode = {.points = {{.latents = 0, .bytes = 20}, {.latents = 100, .bytes = 5020}}}};
    request_.width_px = 80;
    request_.height_px = 160;  // 10 x 20 latents
    request_.guidance_scale = 1.0f;
  }
  RequestMemory Estimate() const { return EstimateRequest(model_, request_); }

  ModelDescription model_;
  GenerationParameters request_;
};

TEST_F(EstimateRequestTest, AModelThatWasNeverLoadedIsNotMeasured) {
  model_.memory.costs.reset();
  EXPECT_FALSE(Estimate().is_measured);
  EXPECT_EQ(Estimate().peak_bytes(), 0);
}

TEST_F(EstimateRequestTest, OneImageWithoutGuidanceIsARowOfItsOwn) {
  model_.memory.costs->denoise_one.points = {{.latents = 0, .bytes = 100},
                                             {.latents = 100, .bytes = 900}};
  EXPECT_EQ(Estimate().denoise_bytes, 100 + 8 * 200 + 200 / 4);
  EXPECT_EQ(Estimate().decode_bytes, 20 + 50 * 200 + (3 + 200 / 2) + 200 / 4);
}

TEST_F(EstimateRequestTest, OneRowIsNeverTakenForLessThanTwoOfHalfTheSize) {
  EXPECT_EQ(Estimate().denoise_bytes, 110 + 2 * 200 + 200 / 4);
}

TEST_F(EstimateRequestTest, SidesThatHalvingRoundsUpCountAsRoundedWhereNothingWasMeasured) {
  model_.memory.unet_halvings = 2;
  // 10 x 20 counts as 12 x 20.
  EXPECT_EQ(Estimate().denoise_bytes, 110 + 2 * 240 + 200 / 4);
}

TEST_F(EstimateRequestTest, SlimImagesCountByTheirOwnLine) {
  model_.memory.costs->slim_width = 16;
  model_.memory.costs->denoise_slim.points = {{.latents = 0, .bytes = 0},
                                              {.latents = 10, .bytes = 1000}};
  EXPECT_EQ(Estimate().denoise_bytes, 100 * 16 * 20 + 200 / 4);
  model_.memory.costs->slim_width = 9;
  EXPECT_EQ(Estimate().denoise_bytes, 110 + 2 * 200 + 200 / 4) << "10 latents are wider";
}

TEST(UnevennessTest, IsThatOfTheStripWhoseLevelsAreAsLarge) {
  EXPECT_EQ(UnevennessOf(8, 512, 2), 0.0);
  EXPECT_DOUBLE_EQ(UnevennessOf(5, 512, 2), 1.0 / 5);
  EXPECT_DOUBLE_EQ(UnevennessOf(512, 9, 2), 1.0 / 9);
  EXPECT_DOUBLE_EQ(UnevennessOf(7, 512, 2), 1.0 / 7) << "4 and 2: the first level decides";
  EXPECT_DOUBLE_EQ(UnevennessOf(6, 512, 2), 1.0 / 9) << "3 and 2: the second level decides";
  EXPECT_EQ(UnevennessOf(5, 512, 0), 0.0);
}

TEST_F(EstimateRequestTest, RowsCountByTheLatentsOfAll) {
  request_.guidance_scale = 5.0f;
  request_.image_count = 3;
  // 6 rows of 200 latents; four rows more than were measured.
  EXPECT_EQ(Estimate().denoise_bytes, 110 + 2 * 1200 + 4 * 3 + 3 * 200 / 4);
}

TEST_F(EstimateRequestTest, EveryFurtherChunkOfAPromptCountsForEachRow) {
  const RequestMemory one = Estimate();
  model_.chunk_count = [](const GenerationParameters&) { return 3; };
  EXPECT_EQ(Estimate().denoise_bytes, one.denoise_bytes + 2 * 2);
  EXPECT_EQ(Estimate().decode_bytes, one.decode_bytes + 2 * 2);
  model_.memory.costs->encode_bytes = 10'000;
  EXPECT_EQ(Estimate().denoise_bytes, 10'000 + 2 * 7) << "encoding takes most";
}

TEST_F(EstimateRequestTest, KeysAndValuesOfPromptsCountForEachChunkOfEachRowWhileTheyAreKept) {
  request_.guidance_scale = 5.0f;
  const RequestMemory none = Estimate();
  EXPECT_FALSE(KeepsTextProducts(model_, request_));
  model_.memory.text_product_bytes = 1000;
  EXPECT_TRUE(KeepsTextProducts(model_, request_));
  EXPECT_EQ(Estimate().denoise_bytes, none.denoise_bytes + 2 * 1000);
  EXPECT_EQ(Estimate().decode_bytes, none.decode_bytes) << "they go after the last step";
  model_.chunk_count = [](const GenerationParameters&) { return 3; };
  EXPECT_EQ(Estimate().denoise_bytes, none.denoise_bytes + 2 * 3 * 1000 + 2 * 2 * 2);

  // Too many are computed in every step.
  model_.memory.text_product_bytes = kMostKeptTextBytes / 6;
  EXPECT_TRUE(KeepsTextProducts(model_, request_));
  model_.memory.text_product_bytes += 1;
  EXPECT_FALSE(KeepsTextProducts(model_, request_));
  EXPECT_EQ(Estimate().denoise_bytes, none.denoise_bytes + 2 * 2 * 2);
}

TEST_F(EstimateRequestTest, KeysAndValuesOfStreamedWeightsAreAlwaysKeptAndWereMeasured) {
  const RequestMemory none = Estimate();
  model_.memory.text_product_bytes = 2 * kMostKeptTextBytes;
  model_.memory.streams_text = true;
  EXPECT_TRUE(KeepsTextProducts(model_, request_));
  EXPECT_EQ(Estimate().denoise_bytes, none.denoise_bytes);
}

TEST_F(EstimateRequestTest, WhileCostsAreMeasuredOnlyStreamedWeightsKeepAnything) {
  model_.memory.costs.reset();
  model_.memory.text_product_bytes = 1;
  EXPECT_FALSE(KeepsTextProducts(model_, request_));
  model_.memory.streams_text = true;
  EXPECT_TRUE(KeepsTextProducts(model_, request_));
}

TEST_F(EstimateRequestTest, LatentsAreNotDecoded) {
  request_.output = OutputKind::kLatents;
  EXPECT_EQ(Estimate().decode_bytes, 0);
}

TEST_F(EstimateRequestTest, TilesAreDecodedOneByOneAndJoined) {
  model_.vae_tiling = "always";
  model_.vae_tile_px = 64;
  // A tile of 8 x 8 latents; the image and two rows of tiles in fp32.
  EXPECT_EQ(Estimate().decode_bytes, 20 + 50 * 64 + 103 + 50 + 12 * 80 * (160 + 2 * 64));
}

TEST_F(EstimateRequestTest, CountsWhatEncodingAnImageTakes) {
  model_.latent_channels = 4;
  const int64_t without = EstimateRequest(model_, request_).denoise_bytes;
  model_.memory.costs->encode_image.points = {{.latents = 0, .bytes = 0},
                                              {.latents = 100, .bytes = 1e6}};
  EXPECT_EQ(EstimateRequest(model_, request_).denoise_bytes, without) << "control";
  request_.init_image = std::make_shared<const RgbImage>();
  // 200 latents, and a row and a column of pixels more than the image has.
  EXPECT_EQ(EstimateRequest(model_, request_).denoise_bytes,
            static_cast<int64_t>(std::ceil(2e6 * (1 + 1.0 / 160) * (1 + 1.0 / 80))));
  // The image's latents are there while the UNet runs.
  model_.memory.costs->encode_image.points.clear();
  const int64_t latent_bytes = 200 * 4 * 4;
  EXPECT_GE(EstimateRequest(model_, request_).denoise_bytes, without + 3 * latent_bytes);
  EXPECT_LE(EstimateRequest(model_, request_).denoise_bytes, without + 10 * latent_bytes);
}

TEST_F(EstimateRequestTest, TellsWhichWeightsAreMissing) {
  request_.init_image = std::make_shared<const RgbImage>();
  EXPECT_EQ(MissingWeightBytes(model_, request_), 0) << "the model has no encoder";
  model_.memory.on_demand = {{OnDemand::kVaeEncoder, {.bytes = 70}},
                             {OnDemand::kFp32Vae, {.bytes = 90}}};
  EXPECT_EQ(MissingWeightBytes(model_, request_), 70);
  EXPECT_EQ(*AdmissionBytes(&model_, request_), *RequestBytes(&model_, request_) + 70);
  model_.memory.on_demand[OnDemand::kVaeEncoder].is_held = true;
  EXPECT_EQ(MissingWeightBytes(model_, request_), 0);
  model_.memory.on_demand[OnDemand::kVaeEncoder].is_held = false;
  request_.init_image = nullptr;
  EXPECT_EQ(MissingWeightBytes(model_, request_), 0);
}

}  // namespace
}  // namespace tightfit
