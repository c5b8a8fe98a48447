#include "client/cli/json_documents.h"

#include "client/cli/error_report.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>
#include <optional>

namespace tightfit::cli {
namespace {

double Seconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double>(duration).count();
}

Json TimeJson(const std::optional<client::TimePoint>& time) {
  if (!time.has_value()) return nullptr;
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(*time)));
}

// A float as the shortest decimal that gives it back: 7.5, not the nearest double's digits.
Json FloatJson(float value) { return Json::parse(fmt::format("{}", value), nullptr, false); }

// Null of a model that is told of no sizes.
Json SizeJson(const client::Size& size) {
  if (size.width_px == 0) return nullptr;
  return {{"width_px", size.width_px}, {"height_px", size.height_px}};
}

Json CropJson(const client::ResolvedParameters& parameters) {
  if (parameters.original_size.width_px == 0) return nullptr;
  return {{"left_px", parameters.crop_top_left.left_px},
          {"top_px", parameters.crop_top_left.top_px}};
}

Json ComponentJson(const client::Component& component) {
  Json json = {
      {"name", component.name},
      {"format", component.format},
      {"parameter_count", component.parameter_count},
      {"fp16_bytes", component.fp16_bytes},
      {"weight_bytes", component.weight_bytes},
      {"packed_bytes", component.packed_bytes},
      {"packed_parameter_count", component.packed_parameter_count},
      {"packed_module_count", component.packed_module_count},
      {"holder_count", component.holder_count},
      {"modules_left", Json::array()},
      {"memory", Json::array()},
  };
  for (const client::ModuleLeft& left : component.modules_left) {
    json["modules_left"].push_back({{"module", left.module}, {"reason", left.reason}});
  }
  for (const client::PurposeBytes& purpose : component.memory) {
    json["memory"].push_back({{"purpose", purpose.purpose},
                              {"current_bytes", purpose.current_bytes},
                              {"peak_bytes", purpose.peak_bytes}});
  }
  return json;
}

}  // namespace

Json ToJson(const client::ResolvedParameters& parameters) {
  return {
      {"model", parameters.model},
      {"model_hash", parameters.model_hash},
      {"width_px", parameters.width_px},
      {"height_px", parameters.height_px},
      {"step_count", parameters.step_count},
      {"guidance_scale", FloatJson(parameters.guidance_scale)},
      {"guidance_rescale", FloatJson(parameters.guidance_rescale)},
      {"sampler", parameters.sampler},
      {"seed", parameters.seed},
      {"image_count", parameters.image_count},
      {"original_size", SizeJson(parameters.original_size)},
      {"target_size", SizeJson(parameters.target_size)},
      {"crop_top_left", CropJson(parameters)},
      {"format", parameters.format},
      {"scope", parameters.scope},
      {"compute_dtype", parameters.compute_dtype},
      {"prompt_syntax", client::PromptSyntaxName(parameters.prompt_syntax)},
      {"clip_skip", parameters.clip_skip},
      {"denoising_start", FloatJson(parameters.denoising_start)},
      {"denoising_end", FloatJson(parameters.denoising_end)},
      {"vae_tile_px", parameters.vae_tile_px},
      {"timestep_spacing", parameters.timestep_spacing},
      {"comma_backtrack_tokens", parameters.comma_backtrack_tokens},
      {"strength", parameters.strength},
      {"mask_blur_px", parameters.mask_blur_px},
      {"inpaint_area", parameters.inpaint_area
                           ? Json(client::InpaintAreaName(*parameters.inpaint_area))
                           : Json(nullptr)},
      {"inpaint_padding_px", parameters.inpaint_padding_px},
      {"outpaint",
       {{"left_px", parameters.outpaint.left_px},
        {"top_px", parameters.outpaint.top_px},
        {"right_px", parameters.outpaint.right_px},
        {"bottom_px", parameters.outpaint.bottom_px}}},
  };
}

Json ToJson(const client::Timings& timings) {
  return {
      {"queued_seconds", Seconds(timings.queued)},
      {"text_encode_seconds", Seconds(timings.text_encode)},
      {"denoise_seconds", Seconds(timings.denoise)},
      {"vae_decode_seconds", Seconds(timings.vae_decode)},
      {"image_encode_seconds", Seconds(timings.image_encode)},
      {"total_seconds", Seconds(timings.total)},
      {"model_load_seconds", Seconds(timings.model_load)},
  };
}

Json ToJson(const client::PromptTokens& prompt) {
  return {{"field", prompt.field},
          {"token_count", prompt.token_count},
          {"used_token_count", prompt.used_token_count},
          {"chunk_count", prompt.chunk_count}};
}

Json ToJson(const std::vector<client::RequestWarning>& warnings) {
  Json json = Json::array();
  for (const client::RequestWarning& warning : warnings) {
    json.push_back({{"reason", warning.reason},
                    {"field", warning.field},
                    {"offset_bytes", warning.offset_bytes},
                    {"text", warning.text},
                    {"message", warning.message}});
  }
  return json;
}

void AddLayers(const client::Model& model, Json* json) {
  for (size_t i = 0; i < model.components.size(); ++i) {
    Json& layers = (*json)["components"][i]["layers"] = Json::array();
    for (const client::Layer& layer : model.components[i].layers) {
      layers.push_back({{"module", layer.module},
                        {"format", layer.format},
                        {"parameter_count", layer.parameter_count},
                        {"weight_bytes", layer.weight_bytes}});
    }
  }
}

Json ToJson(const client::Model& model) {
  Json json = {
      {"name", model.name},
      {"state", client::ModelStateName(model.state)},
      {"state_time", TimeJson(model.state_time)},
      {"state_reason", model.state_reason},
      {"pinned", model.pinned},
      {"keep_alive_seconds", Seconds(model.keep_alive)},
      {"priority", model.priority},
      {"last_used_time", TimeJson(model.last_used)},
      {"running_request_count", model.running_request_count},
      {"weight_bytes", model.weight_bytes},
      {"shared_weight_bytes", model.shared_weight_bytes},
      {"host_cached_bytes", model.host_cached_bytes},
      {"failure_reason", model.failure_reason},
      {"failure_message", model.failure_message},
      {"loaded_bytes", model.loaded_bytes},
      {"total_bytes", model.total_bytes},
      {"format", model.format},
      {"scope", model.scope},
      {"compute_dtype", model.compute_dtype},
      {"device", model.device},
      {"family", model.family},
      {"hash", model.hash},
      {"license", model.license},
      {"defaults", nullptr},
      {"samplers", model.samplers},
      {"pixels_per_latent", model.pixels_per_latent},
      {"max_clip_skip", model.max_clip_skip},
      {"vae_tile_px", model.vae_tile_px},
      {"takes_init_image", model.takes_init_image},
      {"load_seconds", nullptr},
      {"components", Json::array()},
  };
  if (model.defaults.has_value()) {
    json["defaults"] = {
        {"width_px", model.defaults->width_px},
        {"height_px", model.defaults->height_px},
        {"step_count", model.defaults->step_count},
        {"guidance_scale", FloatJson(model.defaults->guidance_scale)},
        {"sampler", model.defaults->sampler},
        {"timestep_spacing", model.defaults->timestep_spacing},
    };
  }
  if (model.load_duration.has_value()) json["load_seconds"] = Seconds(*model.load_duration);
  for (const client::Component& component : model.components) {
    json["components"].push_back(ComponentJson(component));
  }
  return json;
}

Json ToJson(const client::ServerInfo& info) {
  return {
      {"version", info.version},
      {"build_commit", info.build_commit},
      {"libtorch_version", info.libtorch_version},
      {"start_time", TimeJson(info.start_time)},
      {"device",
       {
           {"name", info.device.name},
           {"description", info.device.description},
           {"total_bytes", info.device.total_bytes},
           {"used_bytes", info.device.used_bytes},
           {"attributed_bytes", info.device.attributed_bytes},
           {"unattributed_bytes", info.device.unattributed_bytes},
           {"limit_bytes", info.device.limit_bytes},
           {"reserved_bytes", info.device.reserved_bytes},
           {"host_cache_bytes", info.device.host_cache_bytes},
       }},
      {"queued_request_count", info.queued_request_count},
      {"running_request_count", info.running_request_count},
  };
}

Json ToJson(const client::Capabilities& capabilities) {
  Json json = {
      {"min_side_px", capabilities.min_side_px},
      {"max_side_px", capabilities.max_side_px},
      {"max_area_px", capabilities.max_area_px},
      {"max_image_count", capabilities.max_image_count},
      {"max_step_count", capabilities.max_step_count},
      {"max_guidance_scale", FloatJson(capabilities.max_guidance_scale)},
      {"max_prompt_bytes", capabilities.max_prompt_bytes},
      {"max_pixel_steps", capabilities.max_pixel_steps},
      {"max_unary_reply_bytes", capabilities.max_unary_reply_bytes},
      {"max_queued_requests", capabilities.max_queued_requests},
      {"max_input_image_bytes", capabilities.max_input_image_bytes},
      {"max_input_image_px", capabilities.max_input_image_px},
      {"samplers", capabilities.samplers},
      {"mime_types", capabilities.mime_types},
      {"formats", Json::array()},
      {"scopes", capabilities.scopes},
  };
  for (const client::WeightFormat& format : capabilities.formats) {
    json["formats"].push_back({{"name", format.name},
                               {"bits_per_weight", format.bits_per_weight},
                               {"max_value", format.max_value}});
  }
  return json;
}

Json ToJson(const Status& error) {
  Json json = {
      {"code", CodeName(error.code())},    {"reason", error.reason()},
      {"message", error.message()},        {"detail", error.detail()},
      {"field_violations", Json::array()}, {"retry_after_seconds", nullptr},
      {"metadata", Json::object()},
  };
  for (const FieldViolation& violation : error.field_violations()) {
    json["field_violations"].push_back(
        {{"field", violation.field}, {"description", violation.description}});
  }
  if (error.retry_after()) json["retry_after_seconds"] = Seconds(*error.retry_after());
  for (const auto& [key, value] : error.metadata()) json["metadata"][key] = value;
  return json;
}

std::string Document(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace tightfit::cli
