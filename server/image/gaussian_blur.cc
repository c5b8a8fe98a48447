#include "server/image/gaussian_blur.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

namespace tightfit {
namespace {

// Pillow's numbers (src/libImaging/BoxBlur.c): weights have 24 bits behind the point, so that a sum
// of them and of bytes stays within 32 bits.
constexpr int kBoxCount = 3;
constexpr int kWeightBits = 24;

// A box of whole pixels around its centre, and a share of one more on either side.
struct Box {
  int32_t radius_px = 0;
  uint32_t weight = 0;  // of each whole pixel
  uint32_t edge_weight = 0;

  uint8_t Mean(uint32_t sum, uint32_t edges) const {
    return static_cast<uint8_t>((sum * weight + edges * edge_weight + (1u << (kWeightBits - 1))) >>
                                kWeightBits);
  }
};

// As in Gwosdek et al. 2011, whose boxes in sequence have the variance of the Gaussian. In float,
// as Pillow has them.
Box BoxOfGaussian(float radius) {
  const float variance = radius * radius / kBoxCount;
  const auto length = static_cast<float>(std::sqrt(12.0 * variance + 1.0));
  const auto whole = static_cast<float>(std::floor((length - 1.0) / 2.0));
  float part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance);
  part /= 6 * (variance - (whole + 1) * (whole + 1));
  const float box_radius = whole + part;
  Box box;
  box.radius_px = static_cast<int32_t>(box_radius);
  box.weight = static_cast<uint32_t>(static_cast<float>(1u << kWeightBits) / (box_radius * 2 + 1));
  const auto whole_pixels = static_cast<uint32_t>(box.radius_px * 2 + 1);
  box.edge_weight = ((1u << kWeightBits) - whole_pixels * box.weight) / 2;
  return box;
}

void BlurRows(const Box& box, const std::vector<uint8_t>& from, int32_t width_px, int32_t height_px,
              std::vector<uint8_t>* to) {
  const int32_t last = width_px - 1;
  for (int32_t y = 0; y < height_px; ++y) {
    const uint8_t* const in = from.data() + static_cast<size_t>(y) * width_px;
    uint8_t* const out = to->data() + static_cast<size_t>(y) * width_px;
    const auto at = [in, last](int32_t x) { return uint32_t{in[std::clamp(x, 0, last)]}; };
    uint32_t sum = 0;
    for (int32_t x = -box.radius_px; x <= box.radius_px; ++x) sum += at(x);
    for (int32_t x = 0; x < width_px; ++x) {
      const uint32_t left = at(x - box.radius_px - 1);
      const uint32_t right = at(x + box.radius_px + 1);
      out[x] = box.Mean(sum, left + right);
      sum += right - at(x - box.radius_px);
    }
  }
}

void BlurColumns(const Box& box, const std::vector<uint8_t>& from, int32_t width_px,
                 int32_t height_px, std::vector<uint8_t>* to) {
  const int32_t last = height_px - 1;
  const auto columns = static_cast<size_t>(width_px);
  const auto row = [&from, columns, last](int32_t y) {
    return from.data() + static_cast<size_t>(std::clamp(y, 0, last)) * columns;
  };
  std::vector<uint32_t> sums(columns, 0);
  for (int32_t y = -box.radius_px; y <= box.radius_px; ++y) {
    const uint8_t* const added = row(y);
    for (size_t x = 0; x < columns; ++x) sums[x] += added[x];
  }
  for (int32_t y = 0; y < height_px; ++y) {
    const uint8_t* const above = row(y - box.radius_px - 1);
    const uint8_t* const below = row(y + box.radius_px + 1);
    const uint8_t* const leaving = row(y - box.radius_px);
    uint8_t* const out = to->data() + static_cast<size_t>(y) * columns;
    for (size_t x = 0; x < columns; ++x) {
      out[x] = box.Mean(sums[x], uint32_t{above[x]} + below[x]);
      sums[x] += uint32_t{below[x]} - leaving[x];
    }
  }
}

}  // namespace

std::vector<uint8_t> GaussianBlur(std::vector<uint8_t> grey, int32_t width_px, int32_t height_px,
                                  int32_t radius_px) {
  if (radius_px <= 0) return grey;
  const Box box = BoxOfGaussian(static_cast<float>(radius_px));
  std::vector<uint8_t> blurred(grey.size());
  for (int i = 0; i < kBoxCount; ++i) {
    BlurRows(box, grey, width_px, height_px, &blurred);
    std::swap(grey, blurred);
  }
  for (int i = 0; i < kBoxCount; ++i) {
    BlurColumns(box, grey, width_px, height_px, &blurred);
    std::swap(grey, blurred);
  }
  return grey;
}

}  // namespace tightfit
