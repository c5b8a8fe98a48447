// ServerConfig: tightfit.toml and flags, read once at start and validated as a whole.
//
// Errors of configuration are for the operator who starts the server, never for clients: their
// messages are one line and do name files and paths, `tightfit.toml:12: unknown key "formt" ...`.
#ifndef TIGHTFIT_SERVER_CONFIG_CONFIG_H_
#define TIGHTFIT_SERVER_CONFIG_CONFIG_H_

#include "server/base/limits.h"
#include "server/base/model_spec.h"
#include "server/base/status.h"

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace tightfit {

struct ServerConfig {
  // "host:port" or "unix:PATH". Port 0: the system picks one, which the log tells.
  std::string listen = "127.0.0.1:50051";
  std::string metrics_listen = "127.0.0.1:9400";  // empty or "none": no metrics endpoint
  bool HasMetricsEndpoint() const { return !metrics_listen.empty() && metrics_listen != "none"; }
  // Files. Certificate and key: both or neither; with a client CA, clients must have a certificate
  // of it. Without tokens, whoever may connect may do everything.
  std::string tls_certificate;
  std::string tls_private_key;
  std::string tls_client_ca;
  std::string tokens_file;
  bool allow_plaintext = false;     // also beyond this machine
  std::string device = "auto";      // "auto", "cpu", "cuda:N"
  int32_t threads = 0;              // intra-op threads on a CPU; 0: as many as may run
  std::string log_level = "info";   // "debug", "info", "warning", "error"
  std::string log_format = "text";  // "text", "json"
  // When set, the chosen addresses are written here as JSON once the server listens:
  // {"listen":"127.0.0.1:41233","metrics_listen":"127.0.0.1:41234"}. For port 0.
  std::string address_file;
  std::chrono::milliseconds drain_timeout{25000};
  // How long a call of a model may take without progress; 0: for ever; negative: by the device.
  std::chrono::milliseconds watchdog{-1000};
  // How long the server's own calls of its port may stay without an answer; 0: none are made.
  std::chrono::milliseconds self_check{60000};
  int32_t max_running_requests = 2;
  int32_t memory_limit_mib = 0;  // of the device; 0: what is free at the start, less a reserve
  std::string profile_dir;       // for measured memory profiles; "": none are kept
  int32_t host_cache_mib = -1;   // of weights that left the device; -1: see the server's help
  Limits limits;
  std::vector<ModelSpec> models;
};

inline constexpr std::array<std::string_view, 3> kScopes = {"attention", "linear", "linear+conv"};
inline constexpr std::array<std::string_view, 3> kVaeTilings = {"auto", "always", "never"};
inline constexpr std::array<std::string_view, 3> kTextKvs = {kTextKvInStep, kTextKvOnce,
                                                             kTextKvStreamed};
inline constexpr std::array<std::string_view, 4> kComputeDtypes = {"auto", "fp16", "bf16", "fp32"};

// "fp16" and the names of kernels/format.h.
const std::vector<std::string_view>& ModelFormats();

// Where each given setting comes from, as the start of an error line. Keys: "listen",
// "limits.max_side_px", "model.NAME", "model.NAME.format". Values: `tightfit.toml:3: listen`,
// `--listen`. A setting that is not in it has its default.
using ConfigOrigins = std::map<std::string, std::string, std::less<>>;

// INVALID_ARGUMENT `BAD_CONFIGURATION` with `line` as its message.
Status BadConfiguration(std::string line);

// Checks everything that no single value shows: addresses, who can reach them, device, models and
// their directories, limits against each other.
Status ValidateConfig(const ServerConfig& config, const ConfigOrigins& origins);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_CONFIG_CONFIG_H_
