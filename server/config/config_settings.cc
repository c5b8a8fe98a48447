#include "server/config/config_settings.h"

#include "server/base/closest_name.h"
#include "server/base/parse_number.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

namespace tightfit {
namespace {

constexpr double kKib = 1 << 10;
constexpr double kMib = 1 << 20;
constexpr double kGib = 1 << 30;

template <typename T>
constexpr bool kIsLimit = false;
template <typename T>
constexpr bool kIsLimit<T Limits::*> = true;

// The field that `field` points at, inside `config` or its limits.
template <typename Pointer, typename Config>
auto& FieldOf(Pointer field, Config& config) {
  if constexpr (kIsLimit<Pointer>) {
    return config.limits.*field;
  } else {
    return config.*field;
  }
}

Status SetText(const Setting& setting, const std::string& text, std::string* field) {
  const auto& choices = setting.choices;
  if (!choices.empty() && std::find(choices.begin(), choices.end(), text) == choices.end()) {
    std::string known;
    for (const std::string_view choice : choices) {
      known += (known.empty() ? "" : ", ") + std::string(choice);
    }
    return InvalidArgument("\"" + text + "\" is none of " + known + DidYouMean(text, choices));
  }
  *field = text;
  return OkStatus();
}

template <typename T>
Status SetNumber(const Setting& setting, double value, T* field) {
  TF_RETURN_IF_ERROR(CheckFraction(value, setting.min, setting.max));
  if constexpr (std::is_same_v<T, std::chrono::milliseconds>) {
    *field = std::chrono::milliseconds(std::llround(value * 1000.0));
  } else {
    *field = static_cast<T>(value);
  }
  return OkStatus();
}

}  // namespace

bool Setting::is_text() const { return std::holds_alternative<std::string ServerConfig::*>(field); }

bool Setting::is_switch() const { return std::holds_alternative<bool ServerConfig::*>(field); }

bool Setting::is_fraction() const {
  return std::holds_alternative<std::chrono::milliseconds ServerConfig::*>(field) ||
         std::holds_alternative<float Limits::*>(field);
}

std::string_view Setting::leaf() const {
  const size_t dot = key.find('.');
  return dot == std::string_view::npos ? key : key.substr(dot + 1);
}

std::string Setting::flag() const {
  std::string name(leaf());
  std::replace(name.begin(), name.end(), '_', '-');
  return "--" + name;
}

const std::vector<Setting>& Settings() {
  static const auto* const settings = new std::vector<Setting>{
      {"listen", "HOST:PORT", "gRPC address, or unix:PATH; port 0: any", &ServerConfig::listen},
      {"metrics_listen", "HOST:PORT", "Address of GET /metrics; none switches it off",
       &ServerConfig::metrics_listen},
      {"address_file", "FILE", "File to write the chosen addresses to, as JSON",
       &ServerConfig::address_file},
      {"tls_certificate",
       "FILE",
       "Serve over TLS: certificate and those above it, PEM",
       &ServerConfig::tls_certificate,
       0,
       0,
       {},
       true},
      {"tls_private_key",
       "FILE",
       "Its key, PEM, without a passphrase",
       &ServerConfig::tls_private_key,
       0,
       0,
       {},
       true},
      {"tls_client_ca",
       "FILE",
       "Clients must have a certificate of this CA, PEM",
       &ServerConfig::tls_client_ca,
       0,
       0,
       {},
       true},
      {"tokens_file",
       "FILE",
       "Only callers with a token of this file; see `token new`",
       &ServerConfig::tokens_file,
       0,
       0,
       {},
       true},
      {"allow_plaintext", "", "Without TLS also where other machines can listen in",
       &ServerConfig::allow_plaintext},
      {"device", "auto|cpu|cuda:N", "Where models are held and run", &ServerConfig::device},
      {"threads", "COUNT", "Threads of one CPU computation; 0: all that may run",
       &ServerConfig::threads, 0, 1024},
      {"memory_limit_mib", "MIB", "Device memory to use; 0: what is free, less a tenth",
       &ServerConfig::memory_limit_mib, 0, 1 << 30},
      {"host_cache_mib", "MIB", "For weights that left; -1: none on a CPU, else half",
       &ServerConfig::host_cache_mib, -1, 1 << 30},
      {"profile_dir",
       "DIR",
       "Keep what models were measured to take, for later starts",
       &ServerConfig::profile_dir,
       0,
       0,
       {},
       true},
      {"max_running_requests", "COUNT", "Requests that advance in turns",
       &ServerConfig::max_running_requests, 1, 64},
      {"drain_timeout_seconds", "SECONDS", "After SIGTERM: how long running requests may go on",
       &ServerConfig::drain_timeout, 0, 86400},
      {"watchdog_seconds", "SECONDS", "Exit when a call of a model hangs for so long; 0: never",
       &ServerConfig::watchdog, -1, 86400},
      {"self_check_seconds", "SECONDS", "Exit when the port answers nothing for so long; 0: never",
       &ServerConfig::self_check, 0, 86400},
      {"log_level",
       "LEVEL",
       "debug, info, warning or error",
       &ServerConfig::log_level,
       0,
       0,
       {"debug", "info", "warning", "error"}},
      {"log_format",
       "FORMAT",
       "text or json (one object a line)",
       &ServerConfig::log_format,
       0,
       0,
       {"text", "json"}},
      {"limits.max_queued_requests", "COUNT", "Requests that may wait; more are refused",
       &Limits::max_queued_requests, 1, 100000},
      {"limits.min_side_px", "PIXELS", "Smallest width and height", &Limits::min_side_px, 1, 16384},
      {"limits.max_side_px", "PIXELS", "Largest width and height", &Limits::max_side_px, 1, 16384},
      {"limits.max_area_px", "PIXELS", "Largest width x height", &Limits::max_area_px, 1,
       16384.0 * 16384.0},
      {"limits.max_image_count", "COUNT", "Images of one request", &Limits::max_image_count, 1, 64},
      {"limits.max_step_count", "COUNT", "Denoising steps of one request", &Limits::max_step_count,
       1, 1000},
      {"limits.max_guidance_scale", "SCALE", "Largest guidance scale", &Limits::max_guidance_scale,
       0, 1000},
      {"limits.max_prompt_bytes", "BYTES", "Length of one prompt in UTF-8",
       &Limits::max_prompt_bytes, 1, kMib},
      {"limits.max_pixel_steps", "COUNT", "Width x height x images x steps",
       &Limits::max_pixel_steps, 1, 1e15},
      {"limits.max_input_image_bytes", "BYTES", "File of an image to draw over, or of its mask",
       &Limits::max_input_image_bytes, kKib, kGib},
      {"limits.max_input_image_px", "PIXELS", "Width x height of such an image",
       &Limits::max_input_image_px, 1, 16384.0 * 16384.0},
      {"limits.max_receive_message_bytes", "BYTES", "Largest request message",
       &Limits::max_receive_message_bytes, kKib, kGib},
      {"limits.max_send_message_bytes", "BYTES", "Largest reply message",
       &Limits::max_send_message_bytes, kKib, kGib},
      {"limits.max_unary_reply_bytes", "BYTES", "Largest reply of GenerateImages",
       &Limits::max_unary_reply_bytes, kKib, kGib},
      {"limits.grpc_memory_quota_bytes", "BYTES", "Memory that gRPC may use for messages",
       &Limits::grpc_memory_quota_bytes, kMib, 64 * kGib},
      {"limits.image_chunk_bytes", "BYTES", "Size of one piece of a streamed image",
       &Limits::image_chunk_bytes, kKib, 3 * kMib},
      {"limits.max_stream_backlog_bytes", "BYTES", "Image bytes that may wait for a slow reader",
       &Limits::max_stream_backlog_bytes, kKib, 64 * kGib},
      {"limits.stalled_reader_seconds", "SECONDS", "A reader that takes nothing for so long is cut",
       &Limits::stalled_reader_seconds, 1, 3600},
      {"limits.max_connections", "COUNT", "Connections at once; 0: by the descriptor limit",
       &Limits::max_connections, 0, 1e6},
      {"limits.max_connections_per_address", "COUNT", "Those of one address; 0: three quarters",
       &Limits::max_connections_per_address, 0, 1e6},
  };
  return *settings;
}

Status SetSetting(const Setting& setting, const SettingValue& value, ServerConfig* config) {
  return std::visit(
      [&](auto field) -> Status {
        auto& target = FieldOf(field, *config);
        if constexpr (std::is_same_v<std::decay_t<decltype(target)>, std::string>) {
          const auto* text = std::get_if<std::string>(&value);
          return text == nullptr ? InvalidArgument("must be a string")
                                 : SetText(setting, *text, &target);
        } else if constexpr (std::is_same_v<std::decay_t<decltype(target)>, bool>) {
          const auto* turned_on = std::get_if<bool>(&value);
          if (turned_on == nullptr) return InvalidArgument("must be true or false");
          target = *turned_on;
          return OkStatus();
        } else {
          if (const auto* integer = std::get_if<int64_t>(&value)) {
            return SetNumber(setting, static_cast<double>(*integer), &target);
          }
          const auto* fraction = std::get_if<double>(&value);
          if (fraction == nullptr || !setting.is_fraction()) {
            return InvalidArgument(setting.is_fraction() ? "must be a number"
                                                         : "must be a whole number");
          }
          return SetNumber(setting, *fraction, &target);
        }
      },
      setting.field);
}

Status SetSettingFromText(const Setting& setting, const std::string& text, ServerConfig* config) {
  if (setting.is_text()) return SetSetting(setting, text, config);
  if (setting.is_switch()) {
    if (text == "true" || text == "false") return SetSetting(setting, text == "true", config);
    return InvalidArgument("must be true or false, not \"" + text + "\"");
  }
  if (setting.is_fraction()) {
    TF_ASSIGN_OR_RETURN(const double value, ParseFraction(text, setting.min, setting.max));
    return SetSetting(setting, value, config);
  }
  TF_ASSIGN_OR_RETURN(const int64_t value, ParseInteger(text, static_cast<int64_t>(setting.min),
                                                        static_cast<int64_t>(setting.max)));
  return SetSetting(setting, value, config);
}

std::string SettingText(const Setting& setting, const ServerConfig& config) {
  return std::visit(
      [&](auto field) -> std::string {
        const auto& value = FieldOf(field, config);
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, std::string>) {
          return value;
        } else if constexpr (std::is_same_v<T, bool>) {
          return value ? "true" : "false";
        } else if constexpr (std::is_same_v<T, std::chrono::milliseconds>) {
          return FractionText(static_cast<double>(value.count()) / 1000.0);
        } else {
          return FractionText(static_cast<double>(value));
        }
      },
      setting.field);
}

}  // namespace tightfit
