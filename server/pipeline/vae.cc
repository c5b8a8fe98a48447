#include "server/pipeline/vae.h"

#include <algorithm>

namespace tightfit {

Result<RgbPixels> ToRgbPixels(const at::Tensor& picture) {
  const at::Tensor values = picture.to(at::kCPU, at::kFloat);
  if (values.dim() != 4 || values.size(0) != 1 || values.size(1) != 3) {
    return Internal("the VAE's graph gave a tensor that is not one RGB picture");
  }
  if (!at::isfinite(values).all().item<bool>()) {
    return Status(StatusCode::kInternal, "NOT_FINITE",
                  "the decoded picture holds values that are not finite; compute_dtype fp32 or "
                  "bf16 has the range that fp16 lacks");
  }
  const at::Tensor bytes = (values * 0.5 + 0.5)
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

Result<RgbPixels> VaeDecoder::Decode(const at::Tensor& latents) const {
  const at::Tensor unscaled = (latents / scaling_factor_).to(network_.device, network_.dtype);
  TF_ASSIGN_OR_RETURN(const std::vector<at::Tensor> outputs, network_.run({unscaled}));
  if (outputs.size() != 1) return Internal("the VAE's graph did not give one tensor");
  return ToRgbPixels(outputs[0]);
}

}  // namespace tightfit
