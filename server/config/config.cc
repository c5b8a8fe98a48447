#include "server/config/config.h"

#include "kernels/format.h"
#include "server/base/listen_address.h"
#include "server/config/config_models.h"
#include "server/config/config_security.h"

#include <algorithm>
#include <regex>
#include <set>

namespace tightfit {
namespace {

std::string OriginOf(const ConfigOrigins& origins, const std::string& key) {
  const auto found = origins.find(key);
  return found == origins.end() ? key : found->second;
}

Status CheckAddresses(const ServerConfig& config, const ConfigOrigins& origins) {
  const Result<ListenAddress> listen = ParseListenAddress(config.listen);
  if (!listen.ok()) {
    return BadConfiguration(OriginOf(origins, "listen") + ": " + listen.status().message());
  }
  if (!config.HasMetricsEndpoint()) return OkStatus();
  const std::string origin = OriginOf(origins, "metrics_listen") + ": ";
  const Result<ListenAddress> metrics = ParseListenAddress(config.metrics_listen);
  if (!metrics.ok()) return BadConfiguration(origin + metrics.status().message());
  if (metrics->is_unix()) {
    return BadConfiguration(origin + "\"" + config.metrics_listen +
                            "\" is a unix socket; metrics need host:port");
  }
  if (listen->port != 0 && listen->port == metrics->port && listen->host == metrics->host) {
    return BadConfiguration(origin + "\"" + config.metrics_listen +
                            "\" is the address of the gRPC services too");
  }
  return OkStatus();
}

Status CheckDevice(const ServerConfig& config, const ConfigOrigins& origins) {
  // Whether the device is there is known when it is opened.
  static const std::regex known("auto|cpu|cuda(:[0-9]{1,2})?");
  if (std::regex_match(config.device, known)) return OkStatus();
  return BadConfiguration(OriginOf(origins, "device") + ": \"" + config.device +
                          "\" is none of auto, cpu, cuda:N");
}

Status CheckLimits(const Limits& limits, const ConfigOrigins& origins) {
  const auto refuse = [&](const char* key, int64_t value, const char* bound_key, int64_t bound,
                          const char* relation) {
    return BadConfiguration(OriginOf(origins, std::string("limits.") + key) + ": " +
                            std::to_string(value) + " is " + relation + " " + bound_key + ", " +
                            std::to_string(bound));
  };
  if (limits.min_side_px > limits.max_side_px) {
    return refuse("min_side_px", limits.min_side_px, "max_side_px", limits.max_side_px, "above");
  }
  const int64_t min_area_px = int64_t{limits.min_side_px} * limits.min_side_px;
  if (limits.max_area_px < min_area_px) {
    return refuse("max_area_px", limits.max_area_px, "min_side_px squared", min_area_px, "below");
  }
  if (limits.max_pixel_steps < min_area_px) {
    return refuse("max_pixel_steps", limits.max_pixel_steps, "min_side_px squared", min_area_px,
                  "below");
  }
  if (limits.max_prompt_bytes > limits.max_receive_message_bytes) {
    return refuse("max_prompt_bytes", limits.max_prompt_bytes, "max_receive_message_bytes",
                  limits.max_receive_message_bytes, "above");
  }
  if (limits.max_input_image_bytes > limits.max_receive_message_bytes) {
    return refuse("max_input_image_bytes", limits.max_input_image_bytes,
                  "max_receive_message_bytes", limits.max_receive_message_bytes, "above");
  }
  if (limits.image_chunk_bytes > limits.max_send_message_bytes) {
    return refuse("image_chunk_bytes", limits.image_chunk_bytes, "max_send_message_bytes",
                  limits.max_send_message_bytes, "above");
  }
  if (limits.max_unary_reply_bytes > limits.max_send_message_bytes) {
    return refuse("max_unary_reply_bytes", limits.max_unary_reply_bytes, "max_send_message_bytes",
                  limits.max_send_message_bytes, "above");
  }
  if (limits.max_receive_message_bytes > limits.grpc_memory_quota_bytes) {
    return refuse("max_receive_message_bytes", limits.max_receive_message_bytes,
                  "grpc_memory_quota_bytes", limits.grpc_memory_quota_bytes, "above");
  }
  return OkStatus();
}

}  // namespace

const std::vector<std::string_view>& ModelFormats() {
  static const auto* const formats = [] {
    auto* names = new std::vector<std::string_view>{"fp16"};
    for (const FormatInfo& info : kFormats) names->push_back(info.name);
    return names;
  }();
  return *formats;
}

Status BadConfiguration(std::string line) {
  // One error is one line, whatever a file name or a parser's text holds.
  std::replace_if(
      line.begin(), line.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, ' ');
  return {StatusCode::kInvalidArgument, "BAD_CONFIGURATION", std::move(line)};
}

Status ValidateConfig(const ServerConfig& config, const ConfigOrigins& origins) {
  TF_RETURN_IF_ERROR(CheckAddresses(config, origins));
  TF_RETURN_IF_ERROR(ReadServerSecurity(config, origins).status());
  TF_RETURN_IF_ERROR(CheckDevice(config, origins));
  TF_RETURN_IF_ERROR(CheckLimits(config.limits, origins));
  if (config.models.empty()) {
    return BadConfiguration(
        "no model is configured; give --model NAME=PATH or a [[model]] table in the file of "
        "--config");
  }
  std::set<std::string> names;
  for (const ModelSpec& model : config.models) {
    TF_RETURN_IF_ERROR(ValidateModel(model, origins));
    if (!names.insert(model.name).second) {
      return BadConfiguration("two models are named \"" + model.name + "\"");
    }
  }
  return OkStatus();
}

}  // namespace tightfit
