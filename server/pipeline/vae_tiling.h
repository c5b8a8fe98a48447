// TiledImage: an image that is decoded tile by tile, its seams blended: diffusers'
// AutoencoderKL.tiled_decode, with the same overlap and the same order of blending.
#ifndef TIGHTFIT_SERVER_PIPELINE_VAE_TILING_H_
#define TIGHTFIT_SERVER_PIPELINE_VAE_TILING_H_

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace tightfit {

struct TileSizes {
  int64_t sample_px = 0;  // side of a decoded tile
  int64_t latents = 0;    // side of a tile before decoding
};

// Neighbouring tiles share a quarter. Not thread-safe.
class TiledImage {
 public:
  // `latents`: [1, channels, h, w], as the decoder takes them.
  TiledImage(at::Tensor latents, TileSizes tile);

  bool is_complete() const { return row_ >= rows_; }
  // What is to be decoded next. REQUIRES: !is_complete().
  at::Tensor NextTile() const;
  // The decoded NextTile(): fp32 [1, 3, height, width].
  void Add(at::Tensor decoded);
  // fp32 [1, 3, height, width]. REQUIRES: is_complete().
  at::Tensor Image() const { return at::cat(finished_rows_, 2); }

 private:
  const at::Tensor latents_;
  const TileSizes tile_;
  const int64_t stride_;    // from one tile's latents to the next one's
  const int64_t kept_px_;   // what of a tile gets into the image
  const int64_t blend_px_;  // how far a tile fades into its neighbour
  const int64_t rows_;
  const int64_t columns_;
  int64_t row_ = 0;
  std::vector<at::Tensor> row_above_;  // whole tiles, blended
  std::vector<at::Tensor> current_row_;
  std::vector<at::Tensor> finished_rows_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_VAE_TILING_H_
