#include "server/rpc/image_inputs.h"

#include "server/base/strength.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <utility>

namespace tightfit {
namespace {

// As diffusers' pipelines for SDXL.
constexpr double kDefaultStrength = 0.3;
constexpr double kDefaultMaskedStrength = 0.9999;

void RefuseField(std::vector<FieldViolation>* violations, std::string field,
                 std::string description) {
  violations->push_back({std::move(field), std::move(description)});
}

// What is wrong with an image is a violation; what the server lacks ends the request.
Status RefuseOrFail(const char* field, const Status& status,
                    std::vector<FieldViolation>* violations) {
  if (status.code() != StatusCode::kInvalidArgument) return status;
  RefuseField(violations, field, status.message());
  return OkStatus();
}

// The shortest decimal that reads back as `value`.
std::string ShortestDecimal(double value) {
  char digits[32];
  const auto [end, error] = std::to_chars(digits, digits + sizeof(digits), value);
  return error == std::errc() ? std::string(digits, end) : std::string("?");
}

std::string SizeText(int32_t width_px, int32_t height_px) {
  return std::to_string(width_px) + " x " + std::to_string(height_px);
}

int32_t RoundedDown(int32_t side_px, const ModelDescription& model) {
  return side_px - side_px % std::max(model.pixels_per_latent, 1);
}

}  // namespace

double ImageInputs::Strength() const {
  if (message_.has_strength()) return message_.strength();
  return message_.has_mask() ? kDefaultMaskedStrength : kDefaultStrength;
}

void ImageInputs::CheckFields(std::vector<FieldViolation>* violations) const {
  const bool has_image = message_.has_init_image();
  // The negation refuses NaN too.
  if (message_.has_strength() && !(message_.strength() > 0.0 && message_.strength() <= 1.0)) {
    RefuseField(violations, "strength", "must be above 0 and at most 1");
  } else if (message_.has_strength() && !has_image) {
    RefuseField(violations, "strength", "goes with init_image");
  }
  if (message_.has_mask() && !has_image) {
    RefuseField(violations, "mask", "goes with init_image");
  }
  if (message_.has_keep_unmasked_pixels() && !message_.has_mask()) {
    RefuseField(violations, "keep_unmasked_pixels", "goes with mask");
  }
  const bool is_part = message_.denoising_start() != 0.0f ||
                       (message_.has_denoising_end() && message_.denoising_end() != 1.0f) ||
                       message_.initial_latents_size() > 0;
  if (has_image && is_part) {
    RefuseField(violations, "init_image",
                "goes without initial_latents, denoising_start and denoising_end");
  }
}

Status ImageInputs::Decode(const ModelDescription& model, std::vector<FieldViolation>* violations) {
  if (!message_.has_init_image()) return OkStatus();
  if (!model.takes_init_image) {
    RefuseField(violations, "init_image",
                "needs a VAE encoder, which model " + model.name +
                    " has none of: export it again with tightfit-export");
    return OkStatus();
  }
  const InputImageBounds bounds{.max_bytes = limits_.max_input_image_bytes,
                                .max_pixels = limits_.max_input_image_px};
  Result<RgbImage> image = DecodeInputImage(message_.init_image(), bounds);
  if (image.ok()) {
    image_ = *std::move(image);
  } else {
    TF_RETURN_IF_ERROR(RefuseOrFail("init_image", image.status(), violations));
  }
  if (!message_.has_mask()) return OkStatus();
  Result<GreyImage> mask = DecodeInputMask(message_.mask(), bounds);
  if (!mask.ok()) {
    TF_RETURN_IF_ERROR(RefuseOrFail("mask", mask.status(), violations));
  } else if (image_.has_value() &&
             (mask->width_px != image_->width_px || mask->height_px != image_->height_px)) {
    RefuseField(violations, "mask",
                "has " + SizeText(mask->width_px, mask->height_px) +
                    " pixels, but init_image has " + SizeText(image_->width_px, image_->height_px));
  } else {
    mask_ = *std::move(mask);
  }
  return OkStatus();
}

std::optional<int32_t> ImageInputs::DefaultWidthPx(const ModelDescription& model) const {
  if (!image_.has_value()) return std::nullopt;
  return RoundedDown(image_->width_px, model);
}

std::optional<int32_t> ImageInputs::DefaultHeightPx(const ModelDescription& model) const {
  if (!image_.has_value()) return std::nullopt;
  return RoundedDown(image_->height_px, model);
}

void ImageInputs::CheckAgainst(const GenerationParameters& parameters, bool numbers_fit,
                               std::vector<FieldViolation>* violations) const {
  if (!message_.has_init_image() || !numbers_fit) return;
  const auto check_side = [&](const char* field, bool is_given, int32_t side_px) {
    if (is_given || !image_.has_value()) return;
    if (side_px >= limits_.min_side_px && side_px <= limits_.max_side_px) return;
    RefuseField(violations, field,
                "must be from " + std::to_string(limits_.min_side_px) + " to " +
                    std::to_string(limits_.max_side_px) + ", but init_image has " +
                    SizeText(image_->width_px, image_->height_px) +
                    " pixels: give width_px and height_px");
  };
  check_side("width_px", message_.has_width_px(), parameters.width_px);
  check_side("height_px", message_.has_height_px(), parameters.height_px);
  const double strength = Strength();
  if (strength > 0.0 && strength <= 1.0 && StepsOfStrength(strength, parameters.step_count) < 1) {
    RefuseField(violations, "strength",
                "of " + ShortestDecimal(strength) + " leaves none of step_count " +
                    std::to_string(parameters.step_count) + ": their product must be at least 1");
  }
}

Status ImageInputs::MoveTo(GenerationParameters* parameters) {
  if (!image_.has_value()) return OkStatus();
  try {
    Resize(parameters);
  } catch (const std::bad_alloc&) {
    return {StatusCode::kResourceExhausted, "OUT_OF_MEMORY",
            "the host's memory does not suffice to resize an image"};
  }
  return OkStatus();
}

void ImageInputs::Resize(GenerationParameters* parameters) {
  parameters->strength = Strength();
  parameters->init_image = std::make_shared<const RgbImage>(
      Resized(*std::exchange(image_, std::nullopt), parameters->width_px, parameters->height_px));
  if (!mask_.has_value()) return;
  parameters->mask = std::make_shared<const ImageMask>(
      MaskOf(*std::exchange(mask_, std::nullopt), parameters->width_px, parameters->height_px));
  parameters->keep_unmasked_pixels =
      !message_.has_keep_unmasked_pixels() || message_.keep_unmasked_pixels();
}

int64_t InputImageBytes(const v1::ImageParameters& message) {
  return static_cast<int64_t>(message.init_image().size() + message.mask().size());
}

int64_t InputImageBytes(const GenerationParameters& parameters) {
  int64_t bytes = 0;
  if (parameters.init_image != nullptr) bytes += std::ssize(parameters.init_image->rgb);
  if (parameters.mask != nullptr) bytes += std::ssize(parameters.mask->drawn);
  return bytes;
}

Status ImagesUndelivered() {
  constexpr std::chrono::seconds kRetry{2};
  return Status(StatusCode::kResourceExhausted, "IMAGES_UNDELIVERED",
                "images of earlier requests have not been taken by their clients")
      .WithRetryAfter(kRetry);
}

}  // namespace tightfit
