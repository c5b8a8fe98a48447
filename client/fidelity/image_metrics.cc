#include "client/fidelity/image_metrics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <vector>

namespace tightfit::fidelity {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Sum of squared differences. Spans of other lengths are a mistake of the caller.
template <typename T>
double SquaredError(std::span<const T> reference, std::span<const T> measured) {
  if (reference.size() != measured.size() || reference.empty()) std::abort();
  double sum = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    const double error = static_cast<double>(reference[i]) - static_cast<double>(measured[i]);
    sum += error * error;
  }
  return sum;
}

double RatioDb(double signal, double noise) {
  return noise == 0 ? kInfinity : 10.0 * std::log10(signal / noise);
}

// One number a pixel.
struct Plane {
  int width = 0;
  int height = 0;
  std::vector<double> values;
};

// ITU-R BT.601, as SSIM is published.
Plane Luma(const RgbImage& image) {
  Plane plane{image.width_px, image.height_px, {}};
  plane.values.reserve(image.rgb.size() / 3);
  for (size_t i = 0; i + 2 < image.rgb.size(); i += 3) {
    plane.values.push_back(0.299 * image.rgb[i] + 0.587 * image.rgb[i + 1] +
                           0.114 * image.rgb[i + 2]);
  }
  return plane;
}

constexpr int kWindow = 11;

std::array<double, kWindow> GaussianWeights() {
  constexpr double kDeviation = 1.5;
  std::array<double, kWindow> weights;
  double sum = 0;
  for (int i = 0; i < kWindow; ++i) {
    const double distance = i - kWindow / 2;
    weights[i] = std::exp(-distance * distance / (2 * kDeviation * kDeviation));
    sum += weights[i];
  }
  for (double& weight : weights) weight /= sum;
  return weights;
}

// Weighted means over every window within the plane.
Plane Filtered(const Plane& plane) {
  static const std::array<double, kWindow> weights = GaussianWeights();
  Plane across{plane.width - kWindow + 1, plane.height, {}};
  across.values.resize(static_cast<size_t>(across.width) * across.height);
  for (int y = 0; y < across.height; ++y) {
    for (int x = 0; x < across.width; ++x) {
      double sum = 0;
      for (int i = 0; i < kWindow; ++i) sum += weights[i] * plane.values[y * plane.width + x + i];
      across.values[y * across.width + x] = sum;
    }
  }
  Plane result{across.width, plane.height - kWindow + 1, {}};
  result.values.resize(static_cast<size_t>(result.width) * result.height);
  for (int y = 0; y < result.height; ++y) {
    for (int x = 0; x < result.width; ++x) {
      double sum = 0;
      for (int i = 0; i < kWindow; ++i) {
        sum += weights[i] * across.values[(y + i) * across.width + x];
      }
      result.values[y * result.width + x] = sum;
    }
  }
  return result;
}

Plane Product(const Plane& a, const Plane& b) {
  Plane product = a;
  for (size_t i = 0; i < b.values.size(); ++i) product.values[i] *= b.values[i];
  return product;
}

}  // namespace

double ImagePsnrDb(std::span<const uint8_t> reference, std::span<const uint8_t> measured) {
  const double noise = SquaredError(reference, measured);
  return RatioDb(255.0 * 255.0 * static_cast<double>(reference.size()), noise);
}

double LatentPsnrDb(std::span<const float> reference, std::span<const float> measured) {
  double peak = 0;
  for (const float value : reference) peak = std::max(peak, std::abs(static_cast<double>(value)));
  const double noise = SquaredError(reference, measured);
  return RatioDb(peak * peak * static_cast<double>(reference.size()), noise);
}

double SignalToNoiseDb(std::span<const float> reference, std::span<const float> measured) {
  double signal = 0;
  for (const float value : reference) signal += static_cast<double>(value) * value;
  return RatioDb(signal, SquaredError(reference, measured));
}

double Cosine(std::span<const float> reference, std::span<const float> measured) {
  if (reference.size() != measured.size() || reference.empty()) std::abort();
  double product = 0;
  double reference_square = 0;
  double measured_square = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    const double one = reference[i];
    const double other = measured[i];
    product += one * other;
    reference_square += one * one;
    measured_square += other * other;
  }
  if (reference_square == measured_square && product == reference_square) return 1.0;
  const double lengths = std::sqrt(reference_square) * std::sqrt(measured_square);
  return lengths == 0 ? 0.0 : std::clamp(product / lengths, -1.0, 1.0);
}

double Ssim(const RgbImage& reference, const RgbImage& measured) {
  if (reference.width_px != measured.width_px || reference.height_px != measured.height_px ||
      reference.width_px < kWindow || reference.height_px < kWindow) {
    std::abort();
  }
  constexpr double kC1 = (0.01 * 255) * (0.01 * 255);
  constexpr double kC2 = (0.03 * 255) * (0.03 * 255);
  const Plane x = Luma(reference);
  const Plane y = Luma(measured);
  const Plane mean_x = Filtered(x);
  const Plane mean_y = Filtered(y);
  const Plane square_x = Filtered(Product(x, x));
  const Plane square_y = Filtered(Product(y, y));
  const Plane product = Filtered(Product(x, y));
  double sum = 0;
  for (size_t i = 0; i < mean_x.values.size(); ++i) {
    const double mx = mean_x.values[i];
    const double my = mean_y.values[i];
    const double variance_x = square_x.values[i] - mx * mx;
    const double variance_y = square_y.values[i] - my * my;
    const double covariance = product.values[i] - mx * my;
    sum += (2 * mx * my + kC1) * (2 * covariance + kC2) /
           ((mx * mx + my * my + kC1) * (variance_x + variance_y + kC2));
  }
  return sum / static_cast<double>(mean_x.values.size());
}

}  // namespace tightfit::fidelity
