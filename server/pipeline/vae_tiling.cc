#include "server/pipeline/vae_tiling.h"

#include <algorithm>
#include <utility>

namespace tightfit {
namespace {

constexpr double kOverlap = 0.25;

int64_t DividedUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Fades the end of `before` into the begin of `tile` along `dimension`.
void Blend(const at::Tensor& before, at::Tensor& tile, int64_t dimension, int64_t blend_px) {
  const int64_t extent = std::min({before.size(dimension), tile.size(dimension), blend_px});
  if (extent == 0) return;
  std::vector<int64_t> shape(4, 1);
  shape[static_cast<size_t>(dimension)] = extent;
  const at::Tensor share =
      (at::arange(extent, at::kDouble) / static_cast<double>(extent)).reshape(shape);
  at::Tensor begin = tile.narrow(dimension, 0, extent);
  const at::Tensor end = before.narrow(dimension, before.size(dimension) - extent, extent);
  begin.copy_(end * (1.0 - share).to(tile.options()) + begin * share.to(tile.options()));
}

}  // namespace

TiledImage::TiledImage(at::Tensor latents, TileSizes tile)
    : latents_(std::move(latents)),
      tile_(tile),
      stride_(std::max<int64_t>(
          static_cast<int64_t>(static_cast<double>(tile.latents) * (1 - kOverlap)), 1)),
      kept_px_(stride_ * (tile.sample_px / std::max<int64_t>(tile.latents, 1))),
      blend_px_(tile.sample_px - kept_px_),
      rows_(DividedUp(latents_.size(2), stride_)),
      columns_(DividedUp(latents_.size(3), stride_)) {}

at::Tensor TiledImage::NextTile() const {
  const int64_t top = row_ * stride_;
  const int64_t left = static_cast<int64_t>(current_row_.size()) * stride_;
  return latents_.slice(2, top, top + tile_.latents).slice(3, left, left + tile_.latents);
}

void TiledImage::Add(at::Tensor decoded) {
  const size_t column = current_row_.size();
  if (row_ > 0) Blend(row_above_[column], decoded, 2, blend_px_);
  if (column > 0) Blend(current_row_[column - 1], decoded, 3, blend_px_);
  if (static_cast<int64_t>(column) + 1 < columns_) {
    current_row_.push_back(std::move(decoded));
    return;
  }
  std::vector<at::Tensor> row = current_row_;
  row.push_back(std::move(decoded));
  std::vector<at::Tensor> kept;
  for (const at::Tensor& tile : row) {
    kept.push_back(tile.slice(2, 0, kept_px_).slice(3, 0, kept_px_));
  }
  // Memory may run out here: until then nothing has changed, and the tile can be asked for again.
  finished_rows_.push_back(at::cat(kept, 3));
  row_above_ = std::move(row);
  current_row_.clear();
  ++row_;
}

}  // namespace tightfit
