#include "server/rpc/image_inputs.h"

#include "server/base/strength.h"
#include "server/image/gaussian_blur.h"
#include "server/image/inpaint_area.h"
#include "server/image/outpainting.h"

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

constexpr int32_t kMaxMaskBlurPx = 256;
constexpr int32_t kMaxInpaintPaddingPx = 2048;
constexpr int32_t kMaxOutpaintPx = 2048;
constexpr int32_t kDefaultInpaintPaddingPx = 32;
constexpr char kGoesWithMask[] = "goes with mask or outpaint";
constexpr char kGoesWithMaskedArea[] = "goes with INPAINT_AREA_MASKED";

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

Margins OutpaintOf(const v1::ImageParameters& message) {
  return {.left_px = message.outpaint().left_px(),
          .top_px = message.outpaint().top_px(),
          .right_px = message.outpaint().right_px(),
          .bottom_px = message.outpaint().bottom_px()};
}

bool HasMask(const v1::ImageParameters& message) {
  return message.has_mask() || OutpaintOf(message) != Margins();
}

double ImageInputs::Strength() const {
  if (message_.has_strength()) return message_.strength();
  return HasMask(message_) ? kDefaultMaskedStrength : kDefaultStrength;
}

int32_t ImageInputs::InpaintPaddingPx() const {
  return message_.has_inpaint_padding_px() ? message_.inpaint_padding_px()
                                           : kDefaultInpaintPaddingPx;
}

std::vector<FieldViolation> ImageInputs::BadNumbers() const {
  std::vector<FieldViolation> violations;
  const auto check = [&violations](const char* field, int32_t value, int32_t high) {
    if (value >= 0 && value <= high) return;
    RefuseField(&violations, field,
                "must be from 0 to " + std::to_string(high) + ", but is " + std::to_string(value));
  };
  check("mask_blur_px", message_.mask_blur_px(), kMaxMaskBlurPx);
  check("inpaint_padding_px", message_.inpaint_padding_px(), kMaxInpaintPaddingPx);
  check("outpaint.left_px", outpaint_.left_px, kMaxOutpaintPx);
  check("outpaint.top_px", outpaint_.top_px, kMaxOutpaintPx);
  check("outpaint.right_px", outpaint_.right_px, kMaxOutpaintPx);
  check("outpaint.bottom_px", outpaint_.bottom_px, kMaxOutpaintPx);
  if (message_.has_inpaint_area() && message_.inpaint_area() != v1::INPAINT_AREA_WHOLE_IMAGE &&
      !DrawsMaskedArea()) {
    RefuseField(&violations, "inpaint_area",
                "must be INPAINT_AREA_WHOLE_IMAGE or INPAINT_AREA_MASKED");
  }
  return violations;
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
  CheckMaskFields(violations);
  const bool is_part = message_.denoising_start() != 0.0f ||
                       (message_.has_denoising_end() && message_.denoising_end() != 1.0f) ||
                       message_.initial_latents_size() > 0;
  if (has_image && is_part) {
    RefuseField(violations, "init_image",
                "goes without initial_latents, denoising_start and denoising_end");
  }
}

void ImageInputs::CheckMaskFields(std::vector<FieldViolation>* violations) const {
  const std::vector<FieldViolation> bad_numbers = BadNumbers();
  violations->insert(violations->end(), bad_numbers.begin(), bad_numbers.end());
  // A field is named once.
  const auto refuse_unless = [&](bool is_fine, const char* field, const char* description) {
    const bool is_named = std::ranges::any_of(
        bad_numbers, [field](const FieldViolation& bad) { return bad.field == field; });
    if (!is_fine && !is_named) RefuseField(violations, field, description);
  };
  refuse_unless(message_.has_init_image() || !message_.has_outpaint(), "outpaint",
                "goes with init_image");
  refuse_unless(HasMask(message_) || !message_.has_mask_blur_px(), "mask_blur_px", kGoesWithMask);
  refuse_unless(HasMask(message_) || !message_.has_inpaint_area(), "inpaint_area", kGoesWithMask);
  refuse_unless(DrawsMaskedArea() || !message_.has_inpaint_padding_px(), "inpaint_padding_px",
                kGoesWithMaskedArea);
  if (!message_.has_keep_unmasked_pixels()) return;
  refuse_unless(HasMask(message_), "keep_unmasked_pixels", kGoesWithMask);
  refuse_unless(!HasMask(message_) || message_.keep_unmasked_pixels() || !DrawsMaskedArea(),
                "keep_unmasked_pixels", "must be true with INPAINT_AREA_MASKED");
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
  if (!message_.has_mask()) return Prepare(model, violations);
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
  return Prepare(model, violations);
}

Status ImageInputs::Prepare(const ModelDescription& model,
                            std::vector<FieldViolation>* violations) {
  const bool is_decoded = image_.has_value() && mask_.has_value() == message_.has_mask();
  if (!is_decoded || !HasMask(message_) || !BadNumbers().empty()) return OkStatus();
  const int32_t width_px = image_->width_px + outpaint_.left_px + outpaint_.right_px;
  const int32_t height_px = image_->height_px + outpaint_.top_px + outpaint_.bottom_px;
  if (IsEnlarged() && int64_t{width_px} * height_px > limits_.max_input_image_px) {
    RefuseField(violations, "outpaint",
                "makes init_image " + SizeText(width_px, height_px) +
                    " pixels, but it may have at most " +
                    std::to_string(limits_.max_input_image_px));
    image_.reset();  // of whose size nothing more is said
    return OkStatus();
  }
  if (!DrawsMaskedArea()) {
    const Margins& by = outpaint_;
    if (!message_.has_width_px()) {
      CheckEnlarged("width", width_px, {by.left_px, by.right_px}, model, violations);
    }
    if (!message_.has_height_px()) {
      CheckEnlarged("height", height_px, {by.top_px, by.bottom_px}, model, violations);
    }
  }
  try {
    if (IsEnlarged()) {
      mask_ = MaskWithMargins(mask_, image_->width_px, image_->height_px, outpaint_);
      image_ = WithMargins(*image_, outpaint_);
    }
    mask_->grey = GaussianBlur(std::move(mask_->grey), mask_->width_px, mask_->height_px,
                               message_.mask_blur_px());
  } catch (const std::bad_alloc&) {
    return {StatusCode::kResourceExhausted, "OUT_OF_MEMORY",
            "the host's memory does not suffice to blur a mask or to make an image larger"};
  }
  if (DrawsMaskedArea() &&
      std::ranges::all_of(mask_->grey, [](uint8_t grey) { return grey == 0; })) {
    RefuseField(violations, "mask",
                std::string("is black all over") +
                    (message_.mask_blur_px() > 0 ? " once it is blurred" : "") +
                    ", so that INPAINT_AREA_MASKED has nothing to draw");
  }
  return OkStatus();
}

// `margins_px`: the one at the left or top, and the other.
void ImageInputs::CheckEnlarged(const char* axis, int32_t side_px,
                                std::pair<int32_t, int32_t> margins_px,
                                const ModelDescription& model,
                                std::vector<FieldViolation>* violations) const {
  const int32_t multiple = std::max(model.pixels_per_latent, 1);
  const int32_t excess_px = side_px % multiple;
  const auto [first_px, second_px] = margins_px;
  if ((first_px == 0 && second_px == 0) || excess_px == 0) return;
  const bool is_width = axis[0] == 'w';
  const char* const side =
      second_px > 0 ? (is_width ? "right_px" : "bottom_px") : (is_width ? "left_px" : "top_px");
  const int32_t margin_px = second_px > 0 ? second_px : first_px;
  const int32_t less_px = margin_px - excess_px;
  const int32_t more_px = less_px + multiple;
  std::string good;
  if (less_px >= 0) good = std::to_string(less_px);
  if (more_px <= kMaxOutpaintPx) good += (good.empty() ? "" : " or ") + std::to_string(more_px);
  RefuseField(violations, std::string("outpaint.") + side,
              std::string("makes the ") + axis + " of init_image " + std::to_string(side_px) +
                  ", which must be a multiple of " + std::to_string(multiple) + ": give " + good +
                  ", or " + axis + "_px");
}

std::string ImageInputs::ImageText() const {
  return std::string("init_image") + (IsEnlarged() ? " with outpaint" : "") + " has " +
         SizeText(image_->width_px, image_->height_px) + " pixels";
}

std::optional<int32_t> ImageInputs::DefaultWidthPx(const ModelDescription& model) const {
  if (!image_.has_value() || DrawsMaskedArea()) return std::nullopt;
  return RoundedDown(image_->width_px, model);
}

std::optional<int32_t> ImageInputs::DefaultHeightPx(const ModelDescription& model) const {
  if (!image_.has_value() || DrawsMaskedArea()) return std::nullopt;
  return RoundedDown(image_->height_px, model);
}

void ImageInputs::CheckAgainst(const GenerationParameters& parameters, bool numbers_fit,
                               std::vector<FieldViolation>* violations) const {
  if (!message_.has_init_image() || !numbers_fit) return;
  const auto check_side = [&](const char* field, bool is_given, int32_t side_px) {
    if (is_given || !image_.has_value() || DrawsMaskedArea()) return;
    if (side_px >= limits_.min_side_px && side_px <= limits_.max_side_px) return;
    RefuseField(violations, field,
                "must be from " + std::to_string(limits_.min_side_px) + " to " +
                    std::to_string(limits_.max_side_px) + ", but " + ImageText() +
                    ": give width_px and height_px");
  };
  check_side("width_px", message_.has_width_px(), parameters.width_px);
  check_side("height_px", message_.has_height_px(), parameters.height_px);
  if (image_.has_value() && DrawsMaskedArea()) {
    const int64_t pixels = int64_t{image_->width_px} * image_->height_px * parameters.image_count;
    const int64_t most = limits_.max_area_px * limits_.max_image_count;
    if (pixels > most) {
      RefuseField(violations, "image_count",
                  "of " + std::to_string(parameters.image_count) + " answers of " +
                      SizeText(image_->width_px, image_->height_px) +
                      " pixels, which INPAINT_AREA_MASKED leaves as large as init_image, makes " +
                      std::to_string(pixels) + ", but they may be at most " + std::to_string(most));
    }
  }
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
  RgbImage image = *std::exchange(image_, std::nullopt);
  if (!mask_.has_value()) {
    parameters->init_image = std::make_shared<const RgbImage>(
        Resized(std::move(image), parameters->width_px, parameters->height_px));
    return;
  }
  GreyImage mask = *std::exchange(mask_, std::nullopt);
  parameters->mask_blur_px = message_.mask_blur_px();
  parameters->outpaint = outpaint_;
  if (DrawsMaskedArea()) {
    ResizeMaskedArea(std::move(image), std::move(mask), parameters);
  } else {
    ResizeWhole(std::move(image), std::move(mask), parameters);
  }
}

void ImageInputs::ResizeMaskedArea(RgbImage image, GreyImage mask,
                                   GenerationParameters* parameters) const {
  const int32_t width_px = parameters->width_px;
  const int32_t height_px = parameters->height_px;
  parameters->inpaint_area = InpaintArea::kMasked;
  parameters->inpaint_padding_px = InpaintPaddingPx();
  parameters->keep_unmasked_pixels = false;  // the composition keeps them
  const PixelBox box =
      InpaintBox(mask, parameters->inpaint_padding_px, width_px, height_px).value_or(PixelBox{});
  parameters->init_image =
      std::make_shared<const RgbImage>(ResizedAndFilled(Cropped(image, box), width_px, height_px));
  mask = Cropped(mask, box);
  if (parameters->output == OutputKind::kImage) {
    parameters->composition = std::make_shared<const Composition>(
        Composition{.image = std::make_shared<const RgbImage>(std::move(image)),
                    .box = box,
                    .opacity = mask.grey});
  }
  parameters->mask = std::make_shared<const ImageMask>(
      MaskOf(ResizedAndFilled(std::move(mask), width_px, height_px), width_px, height_px));
}

void ImageInputs::ResizeWhole(RgbImage image, GreyImage mask,
                              GenerationParameters* parameters) const {
  const int32_t width_px = parameters->width_px;
  const int32_t height_px = parameters->height_px;
  parameters->init_image =
      std::make_shared<const RgbImage>(Resized(std::move(image), width_px, height_px));
  mask = Resized(std::move(mask), width_px, height_px);
  parameters->keep_unmasked_pixels =
      !message_.has_keep_unmasked_pixels() || message_.keep_unmasked_pixels();
  if (parameters->keep_unmasked_pixels && parameters->mask_blur_px > 0 &&
      parameters->output == OutputKind::kImage) {
    parameters->keep_unmasked_pixels = false;  // the composition keeps them
    parameters->composition = std::make_shared<const Composition>(
        Composition{.image = parameters->init_image,
                    .box = {.width_px = width_px, .height_px = height_px},
                    .opacity = mask.grey});
  }
  parameters->mask =
      std::make_shared<const ImageMask>(MaskOf(std::move(mask), width_px, height_px));
}

int64_t InputImageBytes(const v1::ImageParameters& message) {
  return static_cast<int64_t>(message.init_image().size() + message.mask().size());
}

int64_t InputImageBytes(const GenerationParameters& parameters) {
  int64_t bytes = 0;
  if (parameters.init_image != nullptr) bytes += std::ssize(parameters.init_image->rgb);
  if (parameters.mask != nullptr) bytes += std::ssize(parameters.mask->drawn);
  if (const Composition* const composition = parameters.composition.get()) {
    bytes += std::ssize(composition->opacity);
    if (composition->image != parameters.init_image) bytes += std::ssize(composition->image->rgb);
  }
  return bytes;
}

Status ImagesUndelivered() {
  constexpr std::chrono::seconds kRetry{2};
  return Status(StatusCode::kResourceExhausted, "IMAGES_UNDELIVERED",
                "images of earlier requests have not been taken by their clients")
      .WithRetryAfter(kRetry);
}

}  // namespace tightfit
