#include "server/rpc/generation_messages.h"

#include <algorithm>
#include <utility>

namespace tightfit {
namespace {

v1::Stage ToMessage(Stage stage) {
  switch (stage) {
    case Stage::kModelLoad:
      return v1::STAGE_MODEL_LOAD;
    case Stage::kTextEncode:
      return v1::STAGE_TEXT_ENCODE;
    case Stage::kDenoise:
      return v1::STAGE_DENOISE;
    case Stage::kVaeDecode:
      return v1::STAGE_VAE_DECODE;
    case Stage::kImageEncode:
      return v1::STAGE_IMAGE_ENCODE;
  }
  return v1::STAGE_UNSPECIFIED;
}

void SetSize(const GenerationParameters::SizePx& size, v1::Size* message) {
  message->set_width_px(size.width_px);
  message->set_height_px(size.height_px);
}

// What the UNet is told of sizes and crops.
void SetSizes(const GenerationParameters& parameters, v1::ResolvedParameters* message) {
  const GenerationParameters::SizePx image = {.height_px = parameters.height_px,
                                              .width_px = parameters.width_px};
  SetSize(parameters.original_size.value_or(image), message->mutable_original_size());
  SetSize(parameters.target_size.value_or(image), message->mutable_target_size());
  const GenerationParameters::SizePx crop =
      parameters.crop_top_left.value_or(GenerationParameters::SizePx{});
  message->mutable_crop_top_left()->set_left_px(crop.width_px);
  message->mutable_crop_top_left()->set_top_px(crop.height_px);
}

// How the mask was made, and what is drawn in it.
void SetMask(const GenerationParameters& parameters, v1::ResolvedParameters* message) {
  message->set_mask_blur_px(parameters.mask_blur_px);
  const bool is_masked = parameters.inpaint_area == InpaintArea::kMasked;
  message->set_inpaint_area(is_masked ? v1::INPAINT_AREA_MASKED : v1::INPAINT_AREA_WHOLE_IMAGE);
  if (is_masked) message->set_inpaint_padding_px(parameters.inpaint_padding_px);
  const Margins& outpaint = parameters.outpaint;
  if (outpaint == Margins()) return;
  message->mutable_outpaint()->set_left_px(outpaint.left_px);
  message->mutable_outpaint()->set_top_px(outpaint.top_px);
  message->mutable_outpaint()->set_right_px(outpaint.right_px);
  message->mutable_outpaint()->set_bottom_px(outpaint.bottom_px);
}

}  // namespace

google::protobuf::Duration ToMessage(std::chrono::nanoseconds duration) {
  google::protobuf::Duration message;
  message.set_seconds(duration / std::chrono::seconds(1));
  message.set_nanos(static_cast<int32_t>((duration % std::chrono::seconds(1)).count()));
  return message;
}

v1::ResolvedParameters ToMessage(const GenerationParameters& parameters,
                                 const ModelDescription& model) {
  v1::ResolvedParameters message;
  message.set_model(parameters.model);
  message.set_model_hash(model.hash);
  message.set_width_px(parameters.width_px);
  message.set_height_px(parameters.height_px);
  message.set_step_count(parameters.step_count);
  message.set_guidance_scale(parameters.guidance_scale);
  message.set_guidance_rescale(parameters.guidance_rescale);
  message.set_sampler(parameters.sampler);
  message.set_timestep_spacing(parameters.timestep_spacing);
  message.set_comma_backtrack_tokens(parameters.comma_backtrack_tokens);
  message.set_seed(parameters.seed);
  message.set_image_count(parameters.image_count);
  if (model.takes_sizes) SetSizes(parameters, &message);
  message.set_format(model.format);
  message.set_scope(model.scope);
  message.set_compute_dtype(model.compute_dtype);
  message.set_prompt_syntax(parameters.prompt_syntax == PromptSyntax::kPlain
                                ? v1::PROMPT_SYNTAX_PLAIN
                                : v1::PROMPT_SYNTAX_WEIGHTED);
  message.set_clip_skip(parameters.clip_skip);
  message.set_denoising_start(parameters.denoising_start);
  message.set_denoising_end(parameters.denoising_end);
  if (parameters.init_image != nullptr) message.set_strength(parameters.strength);
  if (parameters.mask != nullptr) SetMask(parameters, &message);
  if (parameters.output == OutputKind::kImage) {
    message.set_vae_tile_px(VaeTilePx(model, parameters.width_px, parameters.height_px));
  }
  return message;
}

v1::PromptTokens ToMessage(const PromptTokens& prompt) {
  v1::PromptTokens message;
  message.set_field(prompt.field);
  message.set_token_count(prompt.token_count);
  message.set_used_token_count(prompt.used_token_count);
  message.set_chunk_count(prompt.chunk_count);
  return message;
}

void AddWarnings(const std::vector<RequestWarning>& warnings,
                 google::protobuf::RepeatedPtrField<v1::Warning>* messages) {
  for (const RequestWarning& warning : warnings) {
    v1::Warning& message = *messages->Add();
    message.set_reason(warning.reason);
    message.set_field(warning.field);
    message.set_offset_bytes(warning.offset_bytes);
    message.set_text(warning.text);
    message.set_message(warning.message);
  }
}

v1::Progress ToMessage(const GenerationProgress& progress) {
  v1::Progress message;
  message.set_stage(ToMessage(progress.stage));
  message.set_step(progress.step);
  message.set_step_count(progress.step_count);
  *message.mutable_elapsed_duration() = ToMessage(progress.elapsed);
  if (progress.remaining.has_value()) {
    *message.mutable_remaining_duration() = ToMessage(*progress.remaining);
  }
  return message;
}

v1::ImageMetadata MetadataOf(const EncodedImage& image) {
  v1::ImageMetadata message;
  message.set_image_index(image.index);
  message.set_seed(image.seed);
  message.set_mime_type(image.mime_type);
  message.set_width_px(image.width_px);
  message.set_height_px(image.height_px);
  message.set_size_bytes(static_cast<int64_t>(image.content.size()));
  return message;
}

v1::Timings ToMessage(const GenerationTimings& timings, std::chrono::nanoseconds image_encode,
                      std::chrono::nanoseconds total) {
  v1::Timings message;
  *message.mutable_queued_duration() = ToMessage(timings.queued);
  for (const StageTiming& stage : timings.stages) {
    switch (stage.stage) {
      case Stage::kModelLoad:
        *message.mutable_model_load_duration() = ToMessage(stage.duration);
        break;
      case Stage::kTextEncode:
        *message.mutable_text_encode_duration() = ToMessage(stage.duration);
        break;
      case Stage::kDenoise:
        *message.mutable_denoise_duration() = ToMessage(stage.duration);
        break;
      case Stage::kVaeDecode:
        *message.mutable_vae_decode_duration() = ToMessage(stage.duration);
        break;
      case Stage::kImageEncode:
        break;
    }
  }
  *message.mutable_image_encode_duration() = ToMessage(image_encode);
  *message.mutable_total_duration() = ToMessage(total);
  return message;
}

v1::ImageChunk ChunkOf(const EncodedImage& image, int64_t offset_bytes, int64_t max_bytes) {
  const auto total = static_cast<int64_t>(image.content.size());
  const int64_t size = std::min(max_bytes, total - offset_bytes);
  v1::ImageChunk chunk;
  chunk.set_image_index(image.index);
  chunk.set_offset_bytes(offset_bytes);
  chunk.set_content(image.content.data() + offset_bytes, static_cast<size_t>(size));
  chunk.set_last(offset_bytes + size == total);
  chunk.set_total_bytes(total);
  chunk.set_mime_type(image.mime_type);
  return chunk;
}

}  // namespace tightfit
