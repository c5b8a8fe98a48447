#include "client/cli/init_image_flags.h"

#include "client/cli/number_flags.h"
#include "client/cli/whole_file.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tightfit::cli {
namespace {

constexpr const char* kGroup = "Drawing over an image";
// More than servers take unless told otherwise; they say how much.
constexpr size_t kMaxInputImageBytes = 64 << 20;

// Four whole numbers between commas, nothing else.
client::Margins ParseMargins(const std::string& flag, std::string_view text) {
  client::Margins margins;
  int32_t* const sides[] = {&margins.left_px, &margins.top_px, &margins.right_px,
                            &margins.bottom_px};
  std::string_view rest = text;
  for (int32_t* const side : sides) {
    const size_t end = rest.find(',');
    const bool is_last = side == &margins.bottom_px;
    if ((end == std::string_view::npos) != is_last) {
      throw CLI::ValidationError(flag,
                                 "\"" + std::string(text) + "\" is not of the form 0,0,256,0");
    }
    *side = IntegerOrThrow<int32_t>(flag, rest.substr(0, end));
    if (!is_last) rest.remove_prefix(end + 1);
  }
  return margins;
}

}  // namespace

void InitImageFlags::AddTo(CLI::App* command, client::ImageRequest* request) {
  command
      ->add_option("--init-image", init_image_,
                   "Draw over this image: PNG, JPEG or WebP, whose size is the default")
      ->type_name("FILE")
      ->group(kGroup);
  AddFraction(command, "--strength", &request->strength,
              "How much of it is drawn anew, above 0 to 1; default: 0.3, with --mask or --outpaint "
              "0.9999")
      ->type_name("SHARE")
      ->group(kGroup);
  command
      ->add_option("--mask", mask_,
                   "Draw only where this image of the same size is white; black is kept")
      ->type_name("FILE")
      ->group(kGroup);
  AddInteger(command, "--mask-blur", &request->mask_blur_px,
             "Blur the mask by a Gaussian of this radius, so that its edge shows less; default: 0")
      ->type_name("PX")
      ->group(kGroup);
  command
      ->add_option("--inpaint-area", inpaint_area_,
                   "masked: draw the mask's surroundings alone, at --width x --height; the image "
                   "keeps its size")
      ->type_name("whole-image|masked")
      ->check(CLI::IsMember({"whole-image", "masked"}).description(""))
      ->group(kGroup);
  AddInteger(command, "--inpaint-padding", &request->inpaint_padding_px,
             "How far those surroundings reach; default: 32")
      ->type_name("PX")
      ->group(kGroup);
  command
      ->add_option("--outpaint", outpaint_,
                   "Make the image larger by so many pixels on each side, and draw there")
      ->type_name("LEFT,TOP,RIGHT,BOTTOM")
      ->group(kGroup);
  command
      ->add_flag("--no-keep-unmasked", no_keep_unmasked_,
                 "Let the VAE go over what the mask keeps, too, instead of keeping each pixel")
      ->group(kGroup);
}

void InitImageFlags::ApplyTo(client::ImageRequest* request) const {
  const auto read = [](const char* flag, const std::optional<std::string>& file,
                       std::optional<std::string>* bytes) {
    if (file) *bytes = ValueOrThrow(flag, ReadWholeFile(*file, kMaxInputImageBytes));
  };
  read("--init-image", init_image_, &request->init_image);
  read("--mask", mask_, &request->mask);
  if (inpaint_area_) {
    request->inpaint_area = *inpaint_area_ == "masked" ? client::InpaintArea::kMasked
                                                       : client::InpaintArea::kWholeImage;
  }
  if (outpaint_) request->outpaint = ParseMargins("--outpaint", *outpaint_);
  if (no_keep_unmasked_) request->keep_unmasked_pixels = false;
}

}  // namespace tightfit::cli
