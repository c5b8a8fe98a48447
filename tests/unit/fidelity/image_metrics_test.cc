#include "client/fidelity/image_metrics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace tightfit::fidelity {
namespace {

RgbImage Noise(int width_px, int height_px, unsigned seed) {
  std::mt19937 random(seed);
  RgbImage image{.width_px = width_px, .height_px = height_px, .rgb = {}};
  image.rgb.resize(static_cast<size_t>(width_px) * height_px * 3);
  for (uint8_t& sample : image.rgb) sample = static_cast<uint8_t>(64 + random() % 128);
  return image;
}

RgbImage Shifted(const RgbImage& image, int by) {
  RgbImage shifted = image;
  for (uint8_t& sample : shifted.rgb) sample = static_cast<uint8_t>(sample + by);
  return shifted;
}

std::vector<float> Normal(size_t count, double deviation, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, static_cast<float>(deviation));
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

std::vector<float> Sum(const std::vector<float>& a, const std::vector<float>& b) {
  std::vector<float> sum = a;
  for (size_t i = 0; i < b.size(); ++i) sum[i] += b[i];
  return sum;
}

// SSIM straight from its definition: every window by itself.
double SlowSsim(const RgbImage& a, const RgbImage& b) {
  const auto luma = [](const RgbImage& image, int x, int y) {
    const uint8_t* p = &image.rgb[3 * (static_cast<size_t>(y) * image.width_px + x)];
    return 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2];
  };
  double weights[11][11];
  double total = 0;
  for (int v = 0; v < 11; ++v) {
    for (int u = 0; u < 11; ++u) {
      weights[v][u] = std::exp(-((u - 5) * (u - 5) + (v - 5) * (v - 5)) / 4.5);
      total += weights[v][u];
    }
  }
  double sum = 0;
  int count = 0;
  for (int y = 0; y + 11 <= a.height_px; ++y) {
    for (int x = 0; x + 11 <= a.width_px; ++x) {
      double ma = 0, mb = 0, aa = 0, bb = 0, ab = 0;
      for (int v = 0; v < 11; ++v) {
        for (int u = 0; u < 11; ++u) {
          const double weight = weights[v][u] / total;
          ma += weight * luma(a, x + u, y + v);
          mb += weight * luma(b, x + u, y + v);
        }
      }
      for (int v = 0; v < 11; ++v) {
        for (int u = 0; u < 11; ++u) {
          const double weight = weights[v][u] / total;
          const double da = luma(a, x + u, y + v) - ma;
          const double db = luma(b, x + u, y + v) - mb;
          aa += weight * da * da;
          bb += weight * db * db;
          ab += weight * da * db;
        }
      }
      sum += (2 * ma * mb + 6.5025) * (2 * ab + 58.5225) /
             ((ma * ma + mb * mb + 6.5025) * (aa + bb + 58.5225));
      ++count;
    }
  }
  return sum / count;
}

TEST(ImagePsnr, IsInfiniteForEqualImages) {
  const RgbImage image = Noise(16, 16, 1);
  EXPECT_EQ(ImagePsnrDb(image.rgb, image.rgb), INFINITY);
}

TEST(ImagePsnr, OfAConstantShiftIsThatOfItsSquare) {
  const RgbImage image = Noise(16, 16, 1);
  EXPECT_NEAR(ImagePsnrDb(image.rgb, Shifted(image, 1).rgb), 48.1308, 1e-4);
  EXPECT_NEAR(ImagePsnrDb(image.rgb, Shifted(image, 10).rgb), 28.1308, 1e-4);
  EXPECT_NEAR(ImagePsnrDb(image.rgb, Shifted(image, -10).rgb), 28.1308, 1e-4);
}

TEST(LatentPsnr, MeasuresNoiseOfKnownPowerAgainstTheLargestMagnitude) {
  std::vector<float> reference = Normal(1 << 16, 1.0, 2);
  reference[7] = -8.0f;  // the peak is a negative value
  const std::vector<float> noisy = Sum(reference, Normal(1 << 16, 0.01, 3));
  EXPECT_NEAR(LatentPsnrDb(reference, noisy), 20 * std::log10(8.0 / 0.01), 0.1);
  EXPECT_EQ(LatentPsnrDb(reference, reference), INFINITY);
}

TEST(SignalToNoise, OfNoiseOfKnownPowerIsTheRatioOfPowers) {
  const std::vector<float> signal = Normal(1 << 16, 3.0, 4);
  const std::vector<float> noisy = Sum(signal, Normal(1 << 16, 0.03, 5));
  EXPECT_NEAR(SignalToNoiseDb(signal, noisy), 40.0, 0.1);
  EXPECT_EQ(SignalToNoiseDb(signal, signal), INFINITY);
  EXPECT_NEAR(SignalToNoiseDb(signal, std::vector<float>(signal.size(), 0.0f)), 0.0, 1e-9);
}

TEST(Cosine, IsThatOfTheAngleWhateverTheLengths) {
  const std::vector<float> one = {3.0f, 4.0f};
  EXPECT_EQ(Cosine(one, one), 1.0);
  EXPECT_NEAR(Cosine(one, std::vector<float>{6.0f, 8.0f}), 1.0, 1e-12);
  EXPECT_NEAR(Cosine(one, std::vector<float>{-4.0f, 3.0f}), 0.0, 1e-12);
  EXPECT_NEAR(Cosine(one, std::vector<float>{-3.0f, -4.0f}), -1.0, 1e-12);
  EXPECT_NEAR(Cosine(one, std::vector<float>{1.0f, 0.0f}), 0.6, 1e-12);
  EXPECT_EQ(Cosine(one, std::vector<float>{0.0f, 0.0f}), 0.0);
  EXPECT_EQ(Cosine(std::vector<float>(2, 0.0f), std::vector<float>(2, 0.0f)), 1.0);
  // Noise of a tenth of the signal's power makes 1 / sqrt(1.1).
  const std::vector<float> signal = Normal(1 << 16, 1.0, 6);
  EXPECT_NEAR(Cosine(signal, Sum(signal, Normal(1 << 16, std::sqrt(0.1), 7))), 1 / std::sqrt(1.1),
              1e-3);
}

TEST(Ssim, IsOneForEqualImagesAndOnlyForThose) {
  const RgbImage image = Noise(24, 20, 6);
  EXPECT_DOUBLE_EQ(Ssim(image, image), 1.0);
  EXPECT_LT(Ssim(image, Shifted(image, 1)), 1.0);
}

TEST(Ssim, OfFlatImagesIsTheLuminanceTermAlone) {
  RgbImage flat{.width_px = 16, .height_px = 16, .rgb = std::vector<uint8_t>(16 * 16 * 3, 100)};
  const double expected = (2 * 100.0 * 120.0 + 6.5025) / (100.0 * 100 + 120.0 * 120 + 6.5025);
  EXPECT_NEAR(Ssim(flat, Shifted(flat, 20)), expected, 1e-9);
}

TEST(Ssim, EqualsItsDefinitionWindowByWindow) {
  const RgbImage one = Noise(25, 18, 7);
  RgbImage other = Noise(25, 18, 8);
  for (size_t i = 0; i < other.rgb.size(); ++i) {
    other.rgb[i] = static_cast<uint8_t>((3 * one.rgb[i] + other.rgb[i]) / 4);
  }
  EXPECT_NEAR(Ssim(one, other), SlowSsim(one, other), 1e-9);
  EXPECT_LT(Ssim(one, Noise(25, 18, 9)), 0.2);
}

TEST(ImageMetrics, EndTheProcessForImagesOfOtherSizes) {
  const RgbImage image = Noise(16, 16, 1);
  EXPECT_DEATH(ImagePsnrDb(image.rgb, std::span(image.rgb).first(3)), "");
  EXPECT_DEATH(Ssim(image, Noise(16, 17, 1)), "");
  EXPECT_DEATH(Ssim(Noise(8, 8, 1), Noise(8, 8, 1)), "");
}

}  // namespace
}  // namespace tightfit::fidelity
