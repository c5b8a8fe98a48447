#include "server/pipeline/vae_encoder.h"

#include <vector>

namespace tightfit {
namespace {

// Of the logarithm of a variance: diffusers' DiagonalGaussianDistribution cuts it off there.
constexpr double kLeastLogVariance = -30.0;
constexpr double kMostLogVariance = 20.0;

// fp32 [1, 3, height, width] of [-1, 1], with the roundings of diffusers' VaeImageProcessor.
at::Tensor ToInput(const RgbImage& image) {
  const at::Tensor bytes = at::from_blob(const_cast<uint8_t*>(image.rgb.data()),
                                         {1, image.height_px, image.width_px, 3}, at::kByte);
  return bytes.permute({0, 3, 1, 2})
      .to(at::kFloat, /*non_blocking=*/false, /*copy=*/true, at::MemoryFormat::Contiguous)
      .div_(255.0)
      .mul_(2.0)
      .sub_(1.0);
}

}  // namespace

Status VaeEncoder::Prepare() {
  if (network_.has_value()) return OkStatus();
  TF_ASSIGN_OR_RETURN(network_, load_());
  return OkStatus();
}

Result<LatentDistribution> VaeEncoder::Encode(const RgbImage& image, const ImageMask* hole) {
  TF_RETURN_IF_ERROR(Prepare());
  std::vector<at::Tensor> outputs;
  {
    std::vector<c10::IValue> inputs;
    at::Tensor input = ToInput(image);
    if (hole != nullptr) {
      const at::Tensor drawn = at::from_blob(const_cast<uint8_t*>(hole->drawn.data()),
                                             {1, 1, hole->height_px, hole->width_px}, at::kByte);
      input.masked_fill_(drawn.ne(0), 0.0);
    }
    inputs.emplace_back(input.to(network_->device, network_->dtype));
    TF_ASSIGN_OR_RETURN(outputs, network_->run(std::move(inputs)));
  }
  if (outputs.size() != 1 || outputs[0].dim() != 4 || outputs[0].size(1) % 2 != 0) {
    return Internal("the VAE encoder's graph did not give one tensor of means and variances");
  }
  const at::Tensor moments = outputs[0].to(at::kCPU, at::kFloat);
  if (!at::isfinite(moments).all().item<bool>()) {
    return Status(StatusCode::kInternal, "NOT_FINITE",
                  "the latents of init_image hold values that are not finite");
  }
  const std::vector<at::Tensor> halves = moments.chunk(2, 1);
  return LatentDistribution{
      .mean = halves[0],
      .deviation = halves[1].clamp(kLeastLogVariance, kMostLogVariance).mul_(0.5).exp_(),
      .scaling_factor = scaling_factor_};
}

}  // namespace tightfit
