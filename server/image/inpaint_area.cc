#include "server/image/inpaint_area.h"

#include "server/image/resampling.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <utility>

namespace tightfit {
namespace {

constexpr uint8_t kOnlyDrawn = 255;

// From `first` to before `end`, along one axis.
struct Span {
  int32_t first = 0;
  int32_t end = 0;

  int32_t size() const { return end - first; }
};

Span Padded(Span span, int32_t padding_px, int32_t side_px) {
  return {static_cast<int32_t>(std::max<int64_t>(int64_t{span.first} - padding_px, 0)),
          static_cast<int32_t>(std::min<int64_t>(int64_t{span.end} + padding_px, side_px))};
}

// By so much, half of it on either side, moved and cut where the side ends.
Span Grown(Span span, int64_t growth_px, int32_t side_px) {
  int64_t first = span.first - growth_px / 2;
  int64_t end = span.end + growth_px - growth_px / 2;
  if (end >= side_px) {
    first -= end - side_px;
    end = side_px;
  }
  if (first < 0) {
    end = std::min<int64_t>(end - first, side_px);
    first = 0;
  }
  return {static_cast<int32_t>(first), static_cast<int32_t>(end)};
}

// The columns and rows that hold a pixel that is not 0.
std::optional<std::pair<Span, Span>> SpansOf(const GreyImage& mask) {
  const auto columns = static_cast<size_t>(mask.width_px);
  Span across{mask.width_px, 0};
  Span down{mask.height_px, 0};
  const auto is_drawn = [](uint8_t grey) { return grey != 0; };
  for (int32_t y = 0; y < mask.height_px; ++y) {
    const auto row = mask.grey.begin() + static_cast<std::ptrdiff_t>(columns * y);
    const auto row_end = row + static_cast<std::ptrdiff_t>(columns);
    const auto first = std::find_if(row, row_end, is_drawn);
    if (first == row_end) continue;
    down.first = std::min(down.first, y);
    down.end = y + 1;
    across.first = std::min(across.first, static_cast<int32_t>(first - row));
    auto end = row_end;
    while (!is_drawn(*(end - 1))) --end;
    across.end = std::max(across.end, static_cast<int32_t>(end - row));
  }
  if (down.end == 0) return std::nullopt;
  return std::pair(across, down);
}

std::vector<uint8_t> CroppedBytes(const std::vector<uint8_t>& bytes, size_t channels,
                                  int32_t width_px, const PixelBox& box) {
  std::vector<uint8_t> cropped;
  const size_t row_bytes = channels * static_cast<size_t>(box.width_px);
  cropped.reserve(row_bytes * static_cast<size_t>(box.height_px));
  for (int32_t y = box.top_px; y < box.top_px + box.height_px; ++y) {
    const size_t first = static_cast<size_t>(y) * width_px + static_cast<size_t>(box.left_px);
    const auto row = bytes.begin() + static_cast<std::ptrdiff_t>(channels * first);
    cropped.insert(cropped.end(), row, row + static_cast<std::ptrdiff_t>(row_bytes));
  }
  return cropped;
}

// Whether width_px x height_px is wider for its height than the other size.
bool IsWider(int32_t width_px, int32_t height_px, int32_t other_width_px, int32_t other_height_px) {
  return int64_t{width_px} * other_height_px > int64_t{other_width_px} * height_px;
}

int32_t Scaled(int32_t side_px, int32_t to_px, int32_t from_px) {
  return static_cast<int32_t>(int64_t{side_px} * to_px / from_px);
}

// What Pillow's bicubic filter gives beyond an edge: the line through the two pixels before it.
uint8_t Beyond(uint8_t edge, uint8_t before) {
  return static_cast<uint8_t>(std::clamp((9 * edge - before + 4) >> 3, 0, 255));
}

// Where a row or column lies within an image: itself twice, or for one beyond its edges the last
// before it and the one before that.
struct Nearest {
  int32_t edge = 0;
  int32_t before = 0;
};

Nearest NearestTo(int32_t at, int32_t side_px) {
  const int32_t edge = std::clamp(at, 0, side_px - 1);
  const int32_t inward = (edge > at ? 1 : 0) - (edge < at ? 1 : 0);
  return {edge, std::clamp(edge + inward, 0, side_px - 1)};
}

std::vector<uint8_t> FilledBytes(std::vector<uint8_t> bytes, int32_t channels, int32_t from_width,
                                 int32_t from_height, int32_t width_px, int32_t height_px) {
  const bool is_wider = IsWider(from_width, from_height, width_px, height_px);
  const bool is_higher = IsWider(width_px, height_px, from_width, from_height);
  const int32_t inner_width =
      is_wider ? width_px : std::max(Scaled(from_width, height_px, from_height), 1);
  const int32_t inner_height =
      is_wider ? std::max(Scaled(from_height, width_px, from_width), 1) : height_px;
  bytes =
      ResizeLanczos(std::move(bytes), channels, from_width, from_height, inner_width, inner_height);
  if (!is_wider && !is_higher) return bytes;
  const int32_t left = width_px / 2 - inner_width / 2;
  const int32_t top = height_px / 2 - inner_height / 2;
  const auto pixel = static_cast<size_t>(channels);
  std::vector<uint8_t> filled(pixel * static_cast<size_t>(width_px) *
                              static_cast<size_t>(height_px));
  uint8_t* out = filled.data();
  for (int32_t y = 0; y < height_px; ++y) {
    const Nearest row = NearestTo(y - top, inner_height);
    for (int32_t x = 0; x < width_px; ++x) {
      const Nearest column = NearestTo(x - left, inner_width);
      const auto at = [&](int32_t a, int32_t b) {
        return bytes.data() + pixel * (static_cast<size_t>(a) * inner_width + b);
      };
      const uint8_t* const edge = at(row.edge, column.edge);
      const uint8_t* const before = at(row.before, column.before);
      for (size_t c = 0; c < pixel; ++c) {
        *out++ = edge == before ? edge[c] : Beyond(edge[c], before[c]);
      }
    }
  }
  return filled;
}

// As large as `box`, cut from the middle of the whole.
std::vector<uint8_t> CoveringBytes(RgbImage drawn, const PixelBox& box) {
  const bool is_wider = IsWider(box.width_px, box.height_px, drawn.width_px, drawn.height_px);
  const int32_t width_px =
      is_wider ? box.width_px : Scaled(drawn.width_px, box.height_px, drawn.height_px);
  const int32_t height_px =
      is_wider ? Scaled(drawn.height_px, box.width_px, drawn.width_px) : box.height_px;
  const PixelBox middle{.left_px = width_px / 2 - box.width_px / 2,
                        .top_px = height_px / 2 - box.height_px / 2,
                        .width_px = box.width_px,
                        .height_px = box.height_px};
  return ResizeLanczosPart(std::move(drawn.rgb), 3, drawn.width_px, drawn.height_px, width_px,
                           height_px, middle);
}

// a * (255 - share) + b * share, divided by 255 and rounded, as Pillow mixes.
uint8_t Mixed(uint32_t a, uint32_t b, uint32_t share) {
  const uint32_t sum = a * (kOnlyDrawn - share) + b * share + 128;
  return static_cast<uint8_t>(((sum >> 8) + sum) >> 8);
}

}  // namespace

std::optional<PixelBox> InpaintBox(const GreyImage& mask, int32_t padding_px, int32_t width_px,
                                   int32_t height_px) {
  const std::optional<std::pair<Span, Span>> spans = SpansOf(mask);
  if (!spans.has_value()) return std::nullopt;
  Span across = Padded(spans->first, padding_px, mask.width_px);
  Span down = Padded(spans->second, padding_px, mask.height_px);
  // In double and truncated, as diffusers counts: a pixel is lost here and there.
  const double aspect = static_cast<double>(width_px) / height_px;
  if (static_cast<double>(across.size()) / down.size() > aspect) {
    const double needed_px = across.size() / aspect;
    down = Grown(down, static_cast<int64_t>(needed_px - down.size()), mask.height_px);
  } else {
    const double needed_px = down.size() * aspect;
    across = Grown(across, static_cast<int64_t>(needed_px - across.size()), mask.width_px);
  }
  return PixelBox{across.first, down.first, across.size(), down.size()};
}

RgbImage Cropped(const RgbImage& image, const PixelBox& box) {
  return {box.width_px, box.height_px, CroppedBytes(image.rgb, 3, image.width_px, box)};
}

GreyImage Cropped(const GreyImage& mask, const PixelBox& box) {
  return {box.width_px, box.height_px, CroppedBytes(mask.grey, 1, mask.width_px, box)};
}

RgbImage ResizedAndFilled(RgbImage image, int32_t width_px, int32_t height_px) {
  return {
      width_px, height_px,
      FilledBytes(std::move(image.rgb), 3, image.width_px, image.height_px, width_px, height_px)};
}

GreyImage ResizedAndFilled(GreyImage mask, int32_t width_px, int32_t height_px) {
  return {width_px, height_px,
          FilledBytes(std::move(mask.grey), 1, mask.width_px, mask.height_px, width_px, height_px)};
}

Result<RgbImage> Composed(const Composition& composition, RgbImage drawn) {
  const PixelBox& box = composition.box;
  const auto columns = static_cast<size_t>(box.width_px);
  const int64_t drawn_bytes = int64_t{3} * drawn.width_px * drawn.height_px;
  if (drawn.width_px < 1 || drawn.height_px < 1 || std::ssize(drawn.rgb) != drawn_bytes) {
    return Internal("an image could not be put in its place", "it has not the size that it says");
  }
  const std::vector<uint8_t> covering = CoveringBytes(std::move(drawn), box);
  RgbImage composed = *composition.image;
  const uint8_t* from = covering.data();
  const uint8_t* opacity = composition.opacity.data();
  for (int32_t y = box.top_px; y < box.top_px + box.height_px; ++y) {
    const size_t first = static_cast<size_t>(y) * composed.width_px + box.left_px;
    uint8_t* out = composed.rgb.data() + 3 * first;
    for (size_t x = 0; x < columns; ++x, ++opacity) {
      for (int c = 0; c < 3; ++c, ++out, ++from) *out = Mixed(*out, *from, *opacity);
    }
  }
  return composed;
}

}  // namespace tightfit
