// ServerConfig: tightfit.toml and flags, read once at start and validated as a whole.
#ifndef TIGHTFIT_SERVER_CONFIG_H_
#define TIGHTFIT_SERVER_CONFIG_H_

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "server/base/limits.h"
#include "server/base/status.h"
#include "server/engine/diffusion_model.h"

namespace tightfit {

struct ServerConfig {
  // "host:port" or "unix:PATH". Port 0: the system picks one, which the log tells.
  std::string listen = "127.0.0.1:50051";
  std::string metrics_listen = "127.0.0.1:9400";  // empty: no metrics endpoint
  std::string device = "auto";                    // "auto", "cpu", "cuda:N"
  int32_t threads = 0;                            // intra-op threads on a CPU; 0: all cores
  std::string log_level = "info";                 // "debug", "info", "warning", "error"
  std::string log_format = "text";                // "text", "json"
  // When set, the chosen addresses are written here as JSON once the server listens:
  // {"listen":"127.0.0.1:41233","metrics_listen":"127.0.0.1:41234"}. For port 0.
  std::string address_file;
  std::chrono::milliseconds drain_timeout{25000};
  int32_t max_running_requests = 2;
  Limits limits;
  std::vector<ModelSpec> models;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_CONFIG_H_
