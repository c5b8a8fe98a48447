// What a request draws over: its image, the image's mask, and how much of the denoising is done.
#ifndef TIGHTFIT_SERVER_RPC_IMAGE_INPUTS_H_
#define TIGHTFIT_SERVER_RPC_IMAGE_INPUTS_H_

#include "server/base/limits.h"
#include "server/base/status.h"
#include "server/engine/generation.h"
#include "server/engine/model_description.h"
#include "server/image/input_image.h"

#include <tightfit/v1/image_generation.pb.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace tightfit {

Margins OutpaintOf(const v1::ImageParameters& message);
// Whether something is drawn in a mask: one that is given, or the one that `outpaint` makes.
bool HasMask(const v1::ImageParameters& message);

// Reads the fields init_image, strength, mask and those that go with them of one message, which
// outlives it. What is wrong goes to the end of `violations`.
class ImageInputs {
 public:
  ImageInputs(const v1::ImageParameters& message, const Limits& limits)
      : message_(message), limits_(limits), outpaint_(OutpaintOf(message)) {}

  // Which of the fields go together, and their ranges; no model changes these.
  void CheckFields(std::vector<FieldViolation>* violations) const;

  // Decodes both images, makes them larger and blurs the mask; takes as long as they have pixels.
  // Errors: RESOURCE_EXHAUSTED `OUT_OF_MEMORY`.
  Status Decode(const ModelDescription& model, std::vector<FieldViolation>* violations);

  // The width or height that the image by itself asks for; nullopt without one, and where only the
  // surroundings of its mask are drawn.
  std::optional<int32_t> DefaultWidthPx(const ModelDescription& model) const;
  std::optional<int32_t> DefaultHeightPx(const ModelDescription& model) const;

  // Checks what the other parameters, filled in already, make of the fields; `numbers_fit` is false
  // where one of them is refused by itself.
  void CheckAgainst(const GenerationParameters& parameters, bool numbers_fit,
                    std::vector<FieldViolation>* violations) const;

  // The members of `parameters` that these fields are for; the images resized to width_px x
  // height_px. Once: it gives away what was decoded. REQUIRES: no violations. Errors:
  // RESOURCE_EXHAUSTED `OUT_OF_MEMORY`.
  Status MoveTo(GenerationParameters* parameters);

 private:
  double Strength() const;
  bool IsEnlarged() const { return outpaint_ != Margins(); }
  bool DrawsMaskedArea() const { return message_.inpaint_area() == v1::INPAINT_AREA_MASKED; }
  int32_t InpaintPaddingPx() const;
  void CheckMaskFields(std::vector<FieldViolation>* violations) const;
  // Of the fields that say how images are prepared, each by itself.
  std::vector<FieldViolation> BadNumbers() const;
  // Makes the decoded images what they are drawn over as, still in their own size.
  Status Prepare(const ModelDescription& model, std::vector<FieldViolation>* violations);
  void CheckEnlarged(const char* axis, int32_t side_px, std::pair<int32_t, int32_t> margins_px,
                     const ModelDescription& model, std::vector<FieldViolation>* violations) const;
  std::string ImageText() const;
  void Resize(GenerationParameters* parameters);
  void ResizeMaskedArea(RgbImage image, GreyImage mask, GenerationParameters* parameters) const;
  void ResizeWhole(RgbImage image, GreyImage mask, GenerationParameters* parameters) const;

  const v1::ImageParameters& message_;
  const Limits& limits_;
  const Margins outpaint_;
  std::optional<RgbImage> image_;
  std::optional<GreyImage> mask_;
};

// What the images take in memory, as they were sent and as they are drawn over.
int64_t InputImageBytes(const v1::ImageParameters& message);
int64_t InputImageBytes(const GenerationParameters& parameters);

// That Limits::max_undelivered_image_bytes leave no room for more.
Status ImagesUndelivered();

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_IMAGE_INPUTS_H_
