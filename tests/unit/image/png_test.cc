#include "server/image/png.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string_view>

namespace tightfit {
namespace {

using ::testing::HasSubstr;
using Texts = std::map<std::string, std::string>;

constexpr int64_t kMaxPixels = 1 << 20;

RgbImage NoiseImage(int32_t width_px, int32_t height_px) {
  RgbImage image{width_px, height_px, {}};
  std::minstd_rand random(static_cast<unsigned>(width_px * 1000 + height_px));
  image.rgb.resize(static_cast<size_t>(width_px) * height_px * 3);
  for (uint8_t& value : image.rgb) value = static_cast<uint8_t>(random() >> 8);
  return image;
}

std::vector<uint8_t> Encode(const RgbImage& image, const Texts& text = {}) {
  const Result<std::vector<uint8_t>> encoded = EncodePng(image, text);
  EXPECT_TRUE(encoded.ok()) << encoded.status().ForLog();
  return *encoded;
}

void ExpectRefused(std::span<const uint8_t> bytes, int64_t max_pixels, const std::string& what) {
  const Result<DecodedPng> decoded = DecodePng(bytes, max_pixels);
  ASSERT_FALSE(decoded.ok()) << what;
  EXPECT_EQ(decoded.status().code(), StatusCode::kInvalidArgument) << what;
}

bool Holds(const std::vector<uint8_t>& bytes, std::string_view part) {
  return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()).find(part) !=
         std::string_view::npos;
}

TEST(PngTest, GivesBackThePixelsOfAnySize) {
  for (const auto& [width_px, height_px] :
       {std::pair(1, 1), std::pair(1, 7), std::pair(13, 1), std::pair(17, 31), std::pair(64, 64),
        std::pair(255, 3), std::pair(512, 301)}) {
    const RgbImage image = NoiseImage(width_px, height_px);
    const Result<DecodedPng> decoded = DecodePng(Encode(image), kMaxPixels);
    ASSERT_TRUE(decoded.ok()) << width_px << "x" << height_px << decoded.status().message();
    EXPECT_EQ(decoded->image.width_px, width_px);
    EXPECT_EQ(decoded->image.height_px, height_px);
    EXPECT_EQ(decoded->image.rgb, image.rgb) << width_px << "x" << height_px;
    EXPECT_TRUE(decoded->text.empty());
  }
}

TEST(PngTest, GivesBackTexts) {
  const Texts text = {{"parameters", "a cat\nSteps: 25"},
                      {"Title", "caf\u00E9 \u732B \U0001F600"},
                      {"Empty", ""},
                      {"Control", "a\tb\x7F"},
                      {std::string(79, 'k'), std::string(100'000, 'v')},
                      {"Gr\xF6\xDF"
                       "e",
                       "Latin-1 keyword"}};
  const Result<DecodedPng> decoded = DecodePng(Encode(NoiseImage(3, 2), text), kMaxPixels);
  ASSERT_TRUE(decoded.ok()) << decoded.status().message();
  EXPECT_EQ(decoded->text, text);
}

TEST(PngTest, WritesAsciiAsTextAndTheRestAsInternationalText) {
  const std::vector<uint8_t> ascii = Encode(NoiseImage(1, 1), {{"k", "a\nb"}});
  EXPECT_TRUE(Holds(ascii, "tEXtk"));
  EXPECT_FALSE(Holds(ascii, "iTXt"));
  const std::vector<uint8_t> international = Encode(NoiseImage(1, 1), {{"k", "\u00E9"}});
  EXPECT_TRUE(Holds(international, "iTXtk"));
  EXPECT_FALSE(Holds(international, "tEXt"));
}

TEST(PngTest, RefusesKeywordsThatPngDoesNotAllow) {
  for (const char* keyword : {"", " a", "a ", "a  b", "a\nb", "a\x7F", "a\xA0"}) {
    const auto encoded = EncodePng(NoiseImage(1, 1), {{keyword, "v"}});
    ASSERT_FALSE(encoded.ok()) << "'" << keyword << "'";
    EXPECT_EQ(encoded.status().code(), StatusCode::kInvalidArgument);
  }
  EXPECT_FALSE(EncodePng(NoiseImage(1, 1), {{std::string(80, 'k'), "v"}}).ok());
  EXPECT_FALSE(EncodePng(NoiseImage(1, 1), {{std::string("a\0b", 3), "v"}}).ok());
}

TEST(PngTest, RefusesTextWithNul) {
  EXPECT_FALSE(EncodePng(NoiseImage(1, 1), {{"k", std::string("a\0b", 3)}}).ok());
}

TEST(PngTest, RefusesImagesWhosePixelsDoNotFitTheirSize) {
  for (const RgbImage& image :
       {RgbImage{0, 0, {}}, RgbImage{1, 1, {1, 2}}, RgbImage{2, 1, {1, 2, 3}},
        RgbImage{-1, -1, {1, 2, 3}}, RgbImage{65536, 65536, {}}}) {
    const auto encoded = EncodePng(image, {});
    ASSERT_FALSE(encoded.ok());
    EXPECT_EQ(encoded.status().code(), StatusCode::kInvalidArgument);
  }
}

TEST(PngTest, RefusesAFileCutAnywhere) {
  const std::vector<uint8_t> bytes =
      Encode(NoiseImage(9, 5), {{"parameters", "a"}, {"Title", "\u00E9"}});
  for (size_t size = 0; size < bytes.size(); ++size) {
    ExpectRefused(std::span(bytes).first(size), kMaxPixels, "cut at " + std::to_string(size));
  }
}

TEST(PngTest, RefusesAFileWithAnyByteChanged) {
  const std::vector<uint8_t> bytes =
      Encode(NoiseImage(9, 5), {{"parameters", "a"}, {"Title", "\u00E9"}});
  for (size_t at = 0; at < bytes.size(); ++at) {
    for (const uint8_t change : {0x01, 0x20, 0x80, 0xFF}) {
      std::vector<uint8_t> damaged = bytes;
      damaged[at] ^= change;
      ExpectRefused(damaged, kMaxPixels,
                    "byte " + std::to_string(at) + " xor " + std::to_string(change));
    }
  }
}

TEST(PngTest, RefusesAFileWithSomethingBehindItsEnd) {
  std::vector<uint8_t> bytes = Encode(NoiseImage(2, 2));
  bytes.push_back(0);
  ExpectRefused(bytes, kMaxPixels, "one byte more");
}

TEST(PngTest, RefusesMorePixelsThanAllowed) {
  const std::vector<uint8_t> bytes = Encode(NoiseImage(16, 9));
  EXPECT_TRUE(DecodePng(bytes, 16 * 9).ok());
  ExpectRefused(bytes, 16 * 9 - 1, "one pixel too many");
  ExpectRefused(bytes, 0, "no pixels allowed");
  ExpectRefused(bytes, -1, "a limit below zero");
  EXPECT_THAT(DecodePng(bytes, 1).status().message(), HasSubstr("too many pixels"));
}

TEST(PngTest, RefusesTextsBeyondTheLimits) {
  const auto long_text = Encode(NoiseImage(1, 1), {{"k", std::string(2 << 20, 'v')}});
  ExpectRefused(long_text, kMaxPixels, "a text of 2 MiB");
  Texts many;
  for (int i = 0; i < 40; ++i) many.emplace(std::to_string(i), "v");
  ExpectRefused(Encode(NoiseImage(1, 1), many), kMaxPixels, "40 texts");
}

}  // namespace
}  // namespace tightfit
