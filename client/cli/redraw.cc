#include "client/cli/redraw.h"

#include "client/cli/number_flags.h"
#include "client/cli/terminal.h"
#include "client/cli/whole_file.h"
#include "client/cpp/png_text.h"

#include <CLI/CLI.hpp>

#include <cstddef>
#include <utility>

namespace tightfit::cli {
namespace {

constexpr const char* kFlag = "--from-png";
constexpr size_t kMaxPngBytes = size_t{256} << 20;

}  // namespace

client::DrawnImage ReadDrawnImage(const std::string& path) {
  const std::string png = ValueOrThrow(kFlag, ReadWholeFile(path, kMaxPngBytes));
  const Result<std::string> text = client::ParametersTextOfPng(png);
  Result<client::DrawnImage> image =
      text.ok() ? client::RequestFromParametersText(*text) : text.status();
  if (!image.ok()) {
    throw CLI::ValidationError(kFlag, Printable(path + ": " + image.status().message()));
  }
  return *std::move(image);
}

client::ImageRequest WithFlags(client::ImageRequest request, const client::ImageRequest& flags) {
  const auto take = [&](auto... fields) {
    const auto one = [&](auto field) {
      if ((flags.*field).has_value()) request.*field = flags.*field;
    };
    (one(fields), ...);
  };
  using client::ImageRequest;
  take(&ImageRequest::model, &ImageRequest::prompt_2, &ImageRequest::negative_prompt,
       &ImageRequest::negative_prompt_2, &ImageRequest::width_px, &ImageRequest::height_px,
       &ImageRequest::step_count, &ImageRequest::guidance_scale, &ImageRequest::guidance_rescale,
       &ImageRequest::sampler, &ImageRequest::seed, &ImageRequest::image_count,
       &ImageRequest::original_size, &ImageRequest::target_size, &ImageRequest::crop_top_left,
       &ImageRequest::mime_type, &ImageRequest::embed_metadata, &ImageRequest::prompt_syntax,
       &ImageRequest::clip_skip, &ImageRequest::denoising_start, &ImageRequest::denoising_end,
       &ImageRequest::timestep_spacing, &ImageRequest::comma_backtrack_tokens,
       &ImageRequest::init_image, &ImageRequest::strength, &ImageRequest::mask,
       &ImageRequest::keep_unmasked_pixels, &ImageRequest::mask_blur_px,
       &ImageRequest::inpaint_area, &ImageRequest::inpaint_padding_px, &ImageRequest::outpaint);
  request.request_id = flags.request_id;
  request.initial_latents = flags.initial_latents;
  return request;
}

void RequireInitImage(const client::ImageRequest& flags, GenerateOptions* options) {
  client::ImageRequest& request = options->request;
  client::DrawnImage& drawn = *options->drawn;
  const auto missing = [&drawn](const char* what, const char* flag) {
    if (drawn.is_by_tightfit) {
      throw CLI::ValidationError(kFlag, std::string("the image was drawn ") + what +
                                            ", which is not in it; give it by " + flag);
    }
    drawn.notes.push_back(std::string("drawn ") + what + "; give it by " + flag);
  };
  if (drawn.request.strength && !flags.strength && !request.init_image) {
    missing("over another image", "--init-image");
    request.strength.reset();
  }
  const bool has_mask = request.mask.has_value() || request.outpaint.has_value();
  if (drawn.request.mask_blur_px && !flags.mask_blur_px && !has_mask) {
    if (request.init_image) missing("in a mask", "--mask");
    request.mask_blur_px.reset();
    request.inpaint_area = flags.inpaint_area;
    request.inpaint_padding_px = flags.inpaint_padding_px;
  }
  if (request.inpaint_area == client::InpaintArea::kWholeImage) {
    request.inpaint_padding_px = flags.inpaint_padding_px;
  }
}

Result<PreparedRequest> Prepare(const GenerateOptions& options, ServerSession& session) {
  PreparedRequest prepared{.request = options.request, .notes = {}};
  if (!options.drawn.has_value()) return prepared;
  client::DrawnImage image = *options.drawn;
  if (!options.model_is_chosen) {
    TF_ASSIGN_OR_RETURN(const std::vector<client::Model> models,
                        session.client().ListModels(session.Call()));
    TF_RETURN_IF_ERROR(client::ChooseModel(models, &image));
    prepared.request.model = image.request.model;
  }
  prepared.notes = std::move(image.notes);
  return prepared;
}

}  // namespace tightfit::cli
