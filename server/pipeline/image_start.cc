#include "server/pipeline/image_start.h"

#include <algorithm>
#include <cstddef>

namespace tightfit {
namespace {

constexpr size_t kRgb = 3;

// A latent is drawn where the first of its pixels is, in rows and columns: diffusers' nearest.
at::Tensor DrawnLatents(const ImageMask& mask, int64_t height, int64_t width) {
  const int64_t rows = mask.height_px / height;
  const int64_t columns = mask.width_px / width;
  const at::Tensor drawn = at::from_blob(const_cast<uint8_t*>(mask.drawn.data()),
                                         {1, 1, mask.height_px, mask.width_px}, at::kByte);
  return drawn.slice(2, 0, mask.height_px, rows)
      .slice(3, 0, mask.width_px, columns)
      .ne(0)
      .to(at::kFloat);
}

}  // namespace

at::Tensor KeptLatents::Blend(const at::Tensor& latents, const Sampler& sampler,
                              int32_t call) const {
  const at::Tensor kept =
      call + 1 < sampler.call_count() ? sampler.AddNoise(clean, noise, call + 1) : clean;
  return (1.0 - drawn) * kept + drawn * latents;
}

bool StartsFromNoise(const GenerationParameters& parameters, int32_t begin) {
  return parameters.mask != nullptr && begin == 0 && parameters.strength >= 1.0;
}

ImageStart StartFromImage(const GenerationParameters& parameters,
                          const LatentDistribution& distribution, const Sampler& sampler,
                          int32_t begin, LatentNoise& noise) {
  const at::Tensor clean = distribution.Sample(noise.Draw());
  const at::Tensor drawn_noise = noise.Draw();
  if (parameters.mask == nullptr) {
    return {.latents = sampler.AddNoise(clean, drawn_noise, begin), .kept = std::nullopt};
  }
  noise.Draw();
  const at::Tensor latents = StartsFromNoise(parameters, begin)
                                 ? drawn_noise * sampler.init_noise_sigma()
                                 : sampler.AddNoise(clean, drawn_noise, begin);
  return {
      .latents = latents,
      .kept = KeptLatents{.clean = clean,
                          .noise = drawn_noise,
                          .drawn = DrawnLatents(*parameters.mask, clean.size(2), clean.size(3))}};
}

ImageStart StartInpainting(const GenerationParameters& parameters,
                           const std::optional<LatentDistribution>& distribution,
                           const LatentDistribution& masked, const Sampler& sampler, int32_t begin,
                           LatentNoise& noise) {
  ImageStart start;
  if (StartsFromNoise(parameters, begin)) {
    start.latents = noise.Draw() * sampler.init_noise_sigma();
  } else {
    const at::Tensor clean = distribution->Sample(noise.Draw());
    start.latents = sampler.AddNoise(clean, noise.Draw(), begin);
  }
  const at::Tensor latents = masked.Sample(noise.Draw());
  start.masked = {.drawn = DrawnLatents(*parameters.mask, latents.size(2), latents.size(3)),
                  .latents = latents};
  return start;
}

void KeepPixels(const RgbImage& init_image, const ImageMask& mask, std::vector<uint8_t>* rgb) {
  for (size_t pixel = 0; pixel < mask.drawn.size(); ++pixel) {
    if (mask.drawn[pixel] != 0) continue;
    std::copy_n(init_image.rgb.begin() + static_cast<std::ptrdiff_t>(kRgb * pixel), kRgb,
                rgb->begin() + static_cast<std::ptrdiff_t>(kRgb * pixel));
  }
}

}  // namespace tightfit
