#include "server/pipeline/vae.h"

#include <algorithm>
#include <utility>

namespace tightfit {
namespace {

bool IsFinite(const at::Tensor& values) { return at::isfinite(values).all().item<bool>(); }

Status NotFinite(const char* what) {
  return {StatusCode::kInternal, "NOT_FINITE",
          std::string(what) +
              " holds values that are not finite; compute_dtype fp32 or bf16 has the range that "
              "fp16 lacks"};
}

}  // namespace

Result<RgbPixels> ToRgbPixels(const at::Tensor& image) {
  if (image.dim() != 4 || image.size(0) != 1 || image.size(1) != 3) {
    return Internal("the VAE's graph gave a tensor that is not one RGB image");
  }
  if (!IsFinite(image)) return NotFinite("the decoded image");
  const at::Tensor bytes = (image * 0.5 + 0.5)
                               .clamp(0.0, 1.0)
                               .mul(255.0)
                               .round()
                               .to(at::kByte)
                               .squeeze(0)
                               .permute({1, 2, 0})
                               .contiguous();
  RgbPixels pixels;
  pixels.height_px = static_cast<int32_t>(bytes.size(0));
  pixels.width_px = static_cast<int32_t>(bytes.size(1));
  const uint8_t* data = bytes.const_data_ptr<uint8_t>();
  pixels.rgb.assign(data, data + bytes.numel());
  return pixels;
}

Result<at::Tensor> VaeDecoder::Run(const at::Tensor& unscaled, bool in_fp32) {
  if (in_fp32 && !fp32_.has_value()) {
    TF_ASSIGN_OR_RETURN(fp32_, load_fp32_());
  }
  const Network& network = in_fp32 ? *fp32_ : network_;
  TF_ASSIGN_OR_RETURN(const std::vector<at::Tensor> outputs,
                      network.run({unscaled.to(network.device, network.dtype)}));
  if (outputs.size() != 1) return Internal("the VAE's graph did not give one tensor");
  return outputs[0].to(at::kCPU, at::kFloat);
}

ImageDecoding::ImageDecoding(VaeDecoder* decoder, const at::Tensor& latents,
                             std::optional<TileSizes> tile, bool in_fp32)
    : decoder_(decoder),
      unscaled_(decoder->Unscaled(latents)),
      tile_(tile),
      in_fp32_(in_fp32 && decoder->has_fallback()) {
  Begin();
}

void ImageDecoding::Begin() {
  tiled_.reset();
  if (tile_.has_value()) tiled_.emplace(unscaled_, *tile_);
}

Result<std::optional<RgbPixels>> ImageDecoding::Next() {
  TF_ASSIGN_OR_RETURN(at::Tensor image,
                      decoder_->Run(tiled_ ? tiled_->NextTile() : unscaled_, in_fp32_));
  if (!IsFinite(image)) {
    if (!IsFinite(unscaled_)) return NotFinite("the denoised latents");
    if (in_fp32_ || !decoder_->has_fallback()) return NotFinite("the decoded image");
    in_fp32_ = true;
    Begin();
    return std::optional<RgbPixels>();
  }
  if (tiled_.has_value()) {
    tiled_->Add(std::move(image));
    if (!tiled_->is_complete()) return std::optional<RgbPixels>();
    image = tiled_->Image();
  }
  TF_ASSIGN_OR_RETURN(RgbPixels pixels, ToRgbPixels(image));
  return std::optional<RgbPixels>(std::move(pixels));
}

}  // namespace tightfit
