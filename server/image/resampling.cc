#include "server/image/resampling.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>
#include <span>
#include <utility>

namespace tightfit {
namespace {

// Pillow's numbers (src/libImaging/Resample.c): coefficients have 22 bits behind the point, so that
// a sum of them and of bytes stays within 32 bits.
constexpr double kLobes = 3.0;
constexpr int kFractionBits = 32 - 8 - 2;

double Sinc(double x) {
  if (x == 0.0) return 1.0;
  x = x * std::numbers::pi;
  return std::sin(x) / x;
}

double Lanczos(double x) { return -kLobes <= x && x < kLobes ? Sinc(x) * Sinc(x / kLobes) : 0.0; }

// Of which inputs an output is made, and how much of each.
struct Taps {
  int32_t first = 0;
  int32_t count = 0;
  size_t at = 0;  // of its coefficients
};

struct Kernel {
  std::vector<Taps> taps;  // of each output
  std::vector<int32_t> coefficients;
};

// Which of the outputs on one side are made.
struct Outputs {
  int32_t first = 0;
  int32_t count = 0;
};

Kernel MakeKernel(int32_t size, int32_t new_size, Outputs outputs) {
  const double scale = static_cast<double>(size) / new_size;
  const double filter_scale = std::max(scale, 1.0);
  const double support = kLobes * filter_scale;
  Kernel kernel;
  kernel.taps.reserve(static_cast<size_t>(outputs.count));
  std::vector<double> weights;
  for (int32_t i = outputs.first; i < outputs.first + outputs.count; ++i) {
    const double center = (i + 0.5) * scale;
    const int32_t first = std::max(static_cast<int32_t>(center - support + 0.5), 0);
    const int32_t end = std::min(static_cast<int32_t>(center + support + 0.5), size);
    weights.clear();
    double sum = 0.0;
    for (int32_t x = 0; x < end - first; ++x) {
      weights.push_back(Lanczos((x + first - center + 0.5) * (1.0 / filter_scale)));
      sum += weights.back();
    }
    kernel.taps.push_back({first, end - first, kernel.coefficients.size()});
    for (double weight : weights) {
      if (sum != 0.0) weight /= sum;
      const double half = weight < 0.0 ? -0.5 : 0.5;
      kernel.coefficients.push_back(static_cast<int32_t>(half + weight * (1 << kFractionBits)));
    }
  }
  return kernel;
}

uint8_t Rounded(int32_t sum) {
  return static_cast<uint8_t>(std::clamp(sum >> kFractionBits, 0, 255));
}

// As Pillow 13: where the height shrinks by more than twice what the width does.
bool IsHeightFirst(int32_t width_px, int32_t height_px, int32_t new_width_px,
                   int32_t new_height_px) {
  return new_height_px < height_px && height_px - new_height_px > 2 * (width_px - new_width_px);
}

constexpr int32_t kHalf = 1 << (kFractionBits - 1);

template <int kChannels>
std::vector<uint8_t> ResizeRows(std::span<const uint8_t> pixels, int32_t width_px,
                                int32_t height_px, int32_t new_width_px, Outputs columns) {
  const Kernel kernel = MakeKernel(width_px, new_width_px, columns);
  const size_t row_bytes = static_cast<size_t>(width_px) * kChannels;
  std::vector<uint8_t> resized(static_cast<size_t>(columns.count) * height_px * kChannels);
  uint8_t* out = resized.data();
  for (int32_t y = 0; y < height_px; ++y) {
    const uint8_t* const row = pixels.data() + static_cast<size_t>(y) * row_bytes;
    for (const Taps& taps : kernel.taps) {
      const uint8_t* in = row + static_cast<size_t>(taps.first) * kChannels;
      const int32_t* const coefficients = kernel.coefficients.data() + taps.at;
      int32_t sums[kChannels];
      std::fill(sums, sums + kChannels, kHalf);
      for (int32_t x = 0; x < taps.count; ++x, in += kChannels) {
        for (int c = 0; c < kChannels; ++c) sums[c] += in[c] * coefficients[x];
      }
      for (int c = 0; c < kChannels; ++c) *out++ = Rounded(sums[c]);
    }
  }
  return resized;
}

std::vector<uint8_t> ResizeColumns(std::span<const uint8_t> pixels, size_t row_bytes,
                                   int32_t height_px, int32_t new_height_px, Outputs rows) {
  const Kernel kernel = MakeKernel(height_px, new_height_px, rows);
  std::vector<uint8_t> resized(row_bytes * static_cast<size_t>(rows.count));
  std::vector<int32_t> sums(row_bytes);
  uint8_t* out = resized.data();
  for (const Taps& taps : kernel.taps) {
    std::fill(sums.begin(), sums.end(), kHalf);
    for (int32_t y = 0; y < taps.count; ++y) {
      const uint8_t* const in = pixels.data() + static_cast<size_t>(taps.first + y) * row_bytes;
      const int32_t coefficient = kernel.coefficients[taps.at + static_cast<size_t>(y)];
      for (size_t x = 0; x < row_bytes; ++x) sums[x] += in[x] * coefficient;
    }
    for (size_t x = 0; x < row_bytes; ++x) *out++ = Rounded(sums[x]);
  }
  return resized;
}

}  // namespace

std::vector<uint8_t> ResizeLanczos(std::vector<uint8_t> pixels, int32_t channels, int32_t width_px,
                                   int32_t height_px, int32_t new_width_px, int32_t new_height_px) {
  return ResizeLanczosPart(std::move(pixels), channels, width_px, height_px, new_width_px,
                           new_height_px, {.width_px = new_width_px, .height_px = new_height_px});
}

std::vector<uint8_t> ResizeLanczosPart(std::vector<uint8_t> pixels, int32_t channels,
                                       int32_t width_px, int32_t height_px, int32_t new_width_px,
                                       int32_t new_height_px, const PixelBox& part) {
  const Outputs columns{part.left_px, part.width_px};
  const Outputs rows{part.top_px, part.height_px};
  const auto resize_width = [&](int32_t row_count) {
    if (new_width_px == width_px && columns.count == width_px) return;
    pixels = channels == 3 ? ResizeRows<3>(pixels, width_px, row_count, new_width_px, columns)
                           : ResizeRows<1>(pixels, width_px, row_count, new_width_px, columns);
  };
  const auto resize_height = [&](int32_t column_count) {
    if (new_height_px == height_px && rows.count == height_px) return;
    const size_t row_bytes = static_cast<size_t>(column_count) * channels;
    pixels = ResizeColumns(pixels, row_bytes, height_px, new_height_px, rows);
  };
  if (IsHeightFirst(width_px, height_px, new_width_px, new_height_px)) {
    resize_height(width_px);
    resize_width(rows.count);
  } else {
    resize_width(height_px);
    resize_height(columns.count);
  }
  return pixels;
}

}  // namespace tightfit
