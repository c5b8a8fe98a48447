#include "client/cpp/message_conversion.h"

#include "client/cpp/utf8.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace tightfit::client {
namespace {

// Nanoseconds in 64 bits end at 292 years; protobuf's durations and times do not.
std::chrono::nanoseconds Nanoseconds(int64_t seconds, int32_t nanos) {
  constexpr int64_t kMaxSeconds = 9'000'000'000;
  return std::chrono::seconds(std::clamp(seconds, -kMaxSeconds, kMaxSeconds)) +
         std::chrono::nanoseconds(nanos);
}

TimePoint FromMessage(const google::protobuf::Timestamp& message) {
  return TimePoint(Nanoseconds(message.seconds(), message.nanos()));
}

Size FromMessage(const v1::Size& message) { return {message.width_px(), message.height_px()}; }

void SetSize(const Size& size, v1::Size* message) {
  message->set_width_px(size.width_px);
  message->set_height_px(size.height_px);
}

template <typename Strings>
std::vector<std::string> ToVector(const Strings& strings) {
  return {strings.begin(), strings.end()};
}

Stage FromMessage(v1::Stage stage) {
  switch (stage) {
    case v1::STAGE_MODEL_LOAD:
      return Stage::kModelLoad;
    case v1::STAGE_TEXT_ENCODE:
      return Stage::kTextEncode;
    case v1::STAGE_DENOISE:
      return Stage::kDenoise;
    case v1::STAGE_VAE_DECODE:
      return Stage::kVaeDecode;
    case v1::STAGE_IMAGE_ENCODE:
      return Stage::kImageEncode;
    default:
      return Stage::kUnspecified;
  }
}

ModelState FromMessage(v1::Model::State state) {
  switch (state) {
    case v1::Model::STATE_UNLOADED:
      return ModelState::kUnloaded;
    case v1::Model::STATE_LOADING:
      return ModelState::kLoading;
    case v1::Model::STATE_RESIDENT:
      return ModelState::kResident;
    case v1::Model::STATE_EVICTING:
      return ModelState::kEvicting;
    case v1::Model::STATE_FAILED:
      return ModelState::kFailed;
    default:
      return ModelState::kUnspecified;
  }
}

Component FromMessage(const v1::Component& message) {
  Component component{
      .name = message.name(),
      .format = message.format(),
      .parameter_count = message.parameter_count(),
      .fp16_bytes = message.fp16_bytes(),
      .weight_bytes = message.weight_bytes(),
      .packed_bytes = message.packed_bytes(),
      .packed_parameter_count = message.packed_parameter_count(),
      .packed_module_count = message.packed_module_count(),
      .holder_count = message.holder_count(),
  };
  for (const v1::ModuleLeft& left : message.modules_left()) {
    component.modules_left.push_back({left.module(), left.reason()});
  }
  for (const v1::Layer& layer : message.layers()) {
    component.layers.push_back(
        {layer.module(), layer.format(), layer.parameter_count(), layer.weight_bytes()});
  }
  for (const v1::PurposeBytes& purpose : message.memory()) {
    component.memory.push_back({purpose.purpose(), purpose.current_bytes(), purpose.peak_bytes()});
  }
  return component;
}

std::vector<RequestWarning> FromMessages(
    const google::protobuf::RepeatedPtrField<v1::Warning>& messages) {
  std::vector<RequestWarning> warnings;
  for (const v1::Warning& message : messages) {
    warnings.push_back({message.reason(), message.field(), message.offset_bytes(), message.text(),
                        message.message()});
  }
  return warnings;
}

std::optional<InpaintArea> AreaFromMessage(v1::InpaintArea area) {
  if (area == v1::INPAINT_AREA_MASKED) return InpaintArea::kMasked;
  if (area == v1::INPAINT_AREA_WHOLE_IMAGE) return InpaintArea::kWholeImage;
  return std::nullopt;
}

Status CheckTexts(const ImageRequest& request) {
  std::vector<FieldViolation> violations;
  const auto check = [&violations](const char* field, const std::string& text) {
    if (!IsUtf8(text)) violations.push_back({field, "is not UTF-8"});
  };
  const auto check_optional = [&check](const char* field, const std::optional<std::string>& text) {
    if (text.has_value()) check(field, *text);
  };
  check("request_id", request.request_id);
  check_optional("model", request.model);
  check("prompt", request.prompt);
  check_optional("prompt_2", request.prompt_2);
  check_optional("negative_prompt", request.negative_prompt);
  check_optional("negative_prompt_2", request.negative_prompt_2);
  check_optional("sampler", request.sampler);
  check_optional("mime_type", request.mime_type);
  check_optional("timestep_spacing", request.timestep_spacing);
  if (violations.empty()) return OkStatus();
  return InvalidArgument("the request has text that is not UTF-8")
      .WithFieldViolations(std::move(violations));
}

}  // namespace

std::chrono::nanoseconds DurationFromMessage(const google::protobuf::Duration& message) {
  return Nanoseconds(message.seconds(), message.nanos());
}

std::string_view PromptSyntaxName(PromptSyntax syntax) {
  return syntax == PromptSyntax::kPlain ? "plain" : "weighted";
}

std::string_view InpaintAreaName(InpaintArea area) {
  return area == InpaintArea::kMasked ? "masked" : "whole_image";
}

std::string_view AdmissionName(Admission admission) {
  switch (admission) {
    case Admission::kNow:
      return "now";
    case Admission::kLater:
      return "later";
    case Admission::kNever:
      return "never";
    case Admission::kUnspecified:
      break;
  }
  return "unknown";
}

std::string_view StageName(Stage stage) {
  switch (stage) {
    case Stage::kModelLoad:
      return "model_load";
    case Stage::kTextEncode:
      return "text_encode";
    case Stage::kDenoise:
      return "denoise";
    case Stage::kVaeDecode:
      return "vae_decode";
    case Stage::kImageEncode:
      return "image_encode";
    case Stage::kUnspecified:
      break;
  }
  return "";
}

std::string_view ModelStateName(ModelState state) {
  switch (state) {
    case ModelState::kUnloaded:
      return "unloaded";
    case ModelState::kLoading:
      return "loading";
    case ModelState::kResident:
      return "resident";
    case ModelState::kEvicting:
      return "evicting";
    case ModelState::kFailed:
      return "failed";
    case ModelState::kUnspecified:
      break;
  }
  return "unknown";
}

Result<v1::StreamImagesRequest> ToMessage(const ImageRequest& request) {
  TF_RETURN_IF_ERROR(CheckTexts(request));
  v1::StreamImagesRequest message;
  message.set_request_id(request.request_id);
  v1::ImageParameters& parameters = *message.mutable_parameters();
  parameters.set_prompt(request.prompt);
  if (request.model) parameters.set_model(*request.model);
  if (request.prompt_2) parameters.set_prompt_2(*request.prompt_2);
  if (request.negative_prompt) parameters.set_negative_prompt(*request.negative_prompt);
  if (request.negative_prompt_2) parameters.set_negative_prompt_2(*request.negative_prompt_2);
  if (request.width_px) parameters.set_width_px(*request.width_px);
  if (request.height_px) parameters.set_height_px(*request.height_px);
  if (request.step_count) parameters.set_step_count(*request.step_count);
  if (request.guidance_scale) parameters.set_guidance_scale(*request.guidance_scale);
  if (request.guidance_rescale) parameters.set_guidance_rescale(*request.guidance_rescale);
  if (request.sampler) parameters.set_sampler(*request.sampler);
  if (request.seed) parameters.set_seed(*request.seed);
  if (request.image_count) parameters.set_image_count(*request.image_count);
  if (request.original_size) SetSize(*request.original_size, parameters.mutable_original_size());
  if (request.target_size) SetSize(*request.target_size, parameters.mutable_target_size());
  if (request.crop_top_left) {
    parameters.mutable_crop_top_left()->set_left_px(request.crop_top_left->left_px);
    parameters.mutable_crop_top_left()->set_top_px(request.crop_top_left->top_px);
  }
  if (request.mime_type) parameters.set_mime_type(*request.mime_type);
  if (request.embed_metadata) parameters.set_embed_metadata(*request.embed_metadata);
  if (request.prompt_syntax) {
    parameters.set_prompt_syntax(*request.prompt_syntax == PromptSyntax::kPlain
                                     ? v1::PROMPT_SYNTAX_PLAIN
                                     : v1::PROMPT_SYNTAX_WEIGHTED);
  }
  if (request.clip_skip) parameters.set_clip_skip(*request.clip_skip);
  if (request.denoising_start) parameters.set_denoising_start(*request.denoising_start);
  if (request.denoising_end) parameters.set_denoising_end(*request.denoising_end);
  if (request.timestep_spacing) parameters.set_timestep_spacing(*request.timestep_spacing);
  if (request.comma_backtrack_tokens) {
    parameters.set_comma_backtrack_tokens(*request.comma_backtrack_tokens);
  }
  for (const std::string& latents : request.initial_latents) {
    parameters.add_initial_latents(latents);
  }
  if (request.init_image) parameters.set_init_image(*request.init_image);
  if (request.strength) parameters.set_strength(*request.strength);
  if (request.mask) parameters.set_mask(*request.mask);
  if (request.keep_unmasked_pixels) {
    parameters.set_keep_unmasked_pixels(*request.keep_unmasked_pixels);
  }
  if (request.mask_blur_px) parameters.set_mask_blur_px(*request.mask_blur_px);
  if (request.inpaint_area) {
    parameters.set_inpaint_area(*request.inpaint_area == InpaintArea::kMasked
                                    ? v1::INPAINT_AREA_MASKED
                                    : v1::INPAINT_AREA_WHOLE_IMAGE);
  }
  if (request.inpaint_padding_px) parameters.set_inpaint_padding_px(*request.inpaint_padding_px);
  if (request.outpaint) {
    v1::Margins& outpaint = *parameters.mutable_outpaint();
    outpaint.set_left_px(request.outpaint->left_px);
    outpaint.set_top_px(request.outpaint->top_px);
    outpaint.set_right_px(request.outpaint->right_px);
    outpaint.set_bottom_px(request.outpaint->bottom_px);
  }
  return message;
}

ResolvedParameters FromMessage(const v1::ResolvedParameters& parameters) {
  return {
      .model = parameters.model(),
      .model_hash = parameters.model_hash(),
      .width_px = parameters.width_px(),
      .height_px = parameters.height_px(),
      .step_count = parameters.step_count(),
      .guidance_scale = parameters.guidance_scale(),
      .guidance_rescale = parameters.guidance_rescale(),
      .sampler = parameters.sampler(),
      .seed = parameters.seed(),
      .image_count = parameters.image_count(),
      .original_size = FromMessage(parameters.original_size()),
      .target_size = FromMessage(parameters.target_size()),
      .crop_top_left = {parameters.crop_top_left().left_px(), parameters.crop_top_left().top_px()},
      .format = parameters.format(),
      .scope = parameters.scope(),
      .compute_dtype = parameters.compute_dtype(),
      .prompt_syntax = parameters.prompt_syntax() == v1::PROMPT_SYNTAX_PLAIN
                           ? PromptSyntax::kPlain
                           : PromptSyntax::kWeighted,
      .clip_skip = parameters.clip_skip(),
      .denoising_start = parameters.denoising_start(),
      .denoising_end = parameters.denoising_end(),
      .vae_tile_px = parameters.vae_tile_px(),
      .timestep_spacing = parameters.timestep_spacing(),
      .comma_backtrack_tokens = parameters.comma_backtrack_tokens(),
      .strength = parameters.strength(),
      .mask_blur_px = parameters.mask_blur_px(),
      .inpaint_area = AreaFromMessage(parameters.inpaint_area()),
      .inpaint_padding_px = parameters.inpaint_padding_px(),
      .outpaint = {parameters.outpaint().left_px(), parameters.outpaint().top_px(),
                   parameters.outpaint().right_px(), parameters.outpaint().bottom_px()},
  };
}

Started FromMessage(const v1::Started& message) {
  return {.request_id = message.request_id(),
          .parameters = FromMessage(message.parameters()),
          .warnings = FromMessages(message.warnings())};
}

Estimate FromMessage(const v1::EstimateImagesResponse& message) {
  Estimate estimate{
      .parameters = FromMessage(message.parameters()),
      .weight_bytes = message.weight_bytes(),
      .load_scratch_bytes = message.load_scratch_bytes(),
      .denoise_bytes = message.denoise_bytes(),
      .decode_bytes = message.decode_bytes(),
      .request_bytes = message.request_bytes(),
      .is_measured = message.is_measured(),
      .free_bytes = message.free_bytes(),
      .evictable_bytes = message.evictable_bytes(),
      .limit_bytes = message.limit_bytes(),
      .evicted_models = ToVector(message.evicted_models()),
      .expected_wait = DurationFromMessage(message.expected_wait_duration()),
      .warnings = FromMessages(message.warnings()),
  };
  switch (message.admission()) {
    case v1::EstimateImagesResponse::ADMISSION_NOW:
      estimate.admission = Admission::kNow;
      break;
    case v1::EstimateImagesResponse::ADMISSION_LATER:
      estimate.admission = Admission::kLater;
      break;
    case v1::EstimateImagesResponse::ADMISSION_NEVER:
      estimate.admission = Admission::kNever;
      break;
    default:
      break;
  }
  return estimate;
}

Progress FromMessage(const v1::Progress& message) {
  Progress progress{
      .stage = FromMessage(message.stage()),
      .step = message.step(),
      .step_count = message.step_count(),
      .elapsed = DurationFromMessage(message.elapsed_duration()),
  };
  if (message.has_remaining_duration()) {
    progress.remaining = DurationFromMessage(message.remaining_duration());
  }
  return progress;
}

ImageChunk FromMessage(v1::ImageChunk&& message) {
  return {
      .image_index = message.image_index(),
      .offset_bytes = message.offset_bytes(),
      .content = std::move(*message.mutable_content()),
      .last = message.last(),
      .total_bytes = message.total_bytes(),
      .mime_type = message.mime_type(),
  };
}

Completed FromMessage(const v1::Completed& message) {
  const v1::Timings& timings = message.timings();
  Completed completed;
  completed.timings = {
      .queued = DurationFromMessage(timings.queued_duration()),
      .text_encode = DurationFromMessage(timings.text_encode_duration()),
      .denoise = DurationFromMessage(timings.denoise_duration()),
      .vae_decode = DurationFromMessage(timings.vae_decode_duration()),
      .image_encode = DurationFromMessage(timings.image_encode_duration()),
      .total = DurationFromMessage(timings.total_duration()),
      .model_load = DurationFromMessage(timings.model_load_duration()),
  };
  for (const v1::ImageMetadata& image : message.images()) {
    completed.images.push_back({
        .index = image.image_index(),
        .seed = image.seed(),
        .mime_type = image.mime_type(),
        .width_px = image.width_px(),
        .height_px = image.height_px(),
        .size_bytes = image.size_bytes(),
    });
  }
  for (const v1::PromptTokens& prompt : message.prompt_tokens()) {
    completed.prompt_tokens.push_back(
        {prompt.field(), prompt.token_count(), prompt.used_token_count(), prompt.chunk_count()});
  }
  return completed;
}

Model FromMessage(const v1::Model& message) {
  Model model{
      .name = message.name(),
      .state = FromMessage(message.state()),
      .failure_reason = message.failure_reason(),
      .failure_message = message.failure_message(),
      .loaded_bytes = message.loaded_bytes(),
      .total_bytes = message.total_bytes(),
      .format = message.format(),
      .scope = message.scope(),
      .compute_dtype = message.compute_dtype(),
      .device = message.device(),
      .family = message.family(),
      .hash = message.hash(),
      .license = message.license(),
      .samplers = ToVector(message.samplers()),
      .pixels_per_latent = message.pixels_per_latent(),
      .max_clip_skip = message.max_clip_skip(),
      .state_reason = message.state_reason(),
      .pinned = message.pinned(),
      .keep_alive = DurationFromMessage(message.keep_alive_duration()),
      .priority = message.priority(),
      .running_request_count = message.running_request_count(),
      .weight_bytes = message.weight_bytes(),
      .shared_weight_bytes = message.shared_weight_bytes(),
      .host_cached_bytes = message.host_cached_bytes(),
      .vae_tile_px = message.vae_tile_px(),
      .takes_init_image = message.takes_init_image(),
  };
  if (message.has_last_used_time()) model.last_used = FromMessage(message.last_used_time());
  if (message.has_state_time()) model.state_time = FromMessage(message.state_time());
  if (message.has_load_duration())
    model.load_duration = DurationFromMessage(message.load_duration());
  if (message.has_defaults()) {
    const v1::Model::Defaults& defaults = message.defaults();
    model.defaults = {defaults.width_px(),       defaults.height_px(), defaults.step_count(),
                      defaults.guidance_scale(), defaults.sampler(),   defaults.timestep_spacing()};
  }
  for (const v1::Component& component : message.components()) {
    model.components.push_back(FromMessage(component));
  }
  return model;
}

ServerInfo FromMessage(const v1::GetServerInfoResponse& message) {
  const v1::Device& device = message.device();
  ServerInfo info{
      .version = message.version(),
      .build_commit = message.build_commit(),
      .libtorch_version = message.libtorch_version(),
      .device = {device.name(), device.description(), device.total_bytes(), device.used_bytes(),
                 device.attributed_bytes(), device.unattributed_bytes(), device.limit_bytes(),
                 device.reserved_bytes(), device.host_cache_bytes()},
      .queued_request_count = message.queued_request_count(),
      .running_request_count = message.running_request_count(),
  };
  if (message.has_start_time()) info.start_time = FromMessage(message.start_time());
  return info;
}

Capabilities FromMessage(const v1::GetCapabilitiesResponse& message) {
  Capabilities capabilities{
      .min_side_px = message.min_side_px(),
      .max_side_px = message.max_side_px(),
      .max_area_px = message.max_area_px(),
      .max_image_count = message.max_image_count(),
      .max_step_count = message.max_step_count(),
      .max_guidance_scale = message.max_guidance_scale(),
      .max_prompt_bytes = message.max_prompt_bytes(),
      .max_pixel_steps = message.max_pixel_steps(),
      .max_unary_reply_bytes = message.max_unary_reply_bytes(),
      .max_queued_requests = message.max_queued_requests(),
      .samplers = ToVector(message.samplers()),
      .mime_types = ToVector(message.mime_types()),
      .scopes = ToVector(message.scopes()),
      .max_input_image_bytes = message.max_input_image_bytes(),
      .max_input_image_px = message.max_input_image_px(),
  };
  for (const v1::WeightFormat& format : message.formats()) {
    capabilities.formats.push_back({format.name(), format.bits_per_weight(), format.max_value()});
  }
  return capabilities;
}

}  // namespace tightfit::client
