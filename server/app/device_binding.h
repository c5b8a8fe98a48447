// What the configuration means on the device that was opened.
#ifndef TIGHTFIT_SERVER_APP_DEVICE_BINDING_H_
#define TIGHTFIT_SERVER_APP_DEVICE_BINDING_H_

#include "server/app/model_backend.h"
#include "server/base/server_info.h"
#include "server/config/config.h"

#include <chrono>
#include <cstdint>
#include <string>

namespace tightfit {

// What GetServerInfo says of the server; reads the device's memory whenever it is asked.
ServerInfo MakeServerInfo(const BackendDevice& device, const std::string& libtorch_version);

// The factory's `describe` on `device`; empty if it has none.
ModelDescriber DescriberOn(const std::string& device, const BackendFactory& backends);

// What every load of a configured model would refuse, by what its directory says, and what keeps
// every request of it from being served (NeverServed). For --check: no device is opened, "auto" is
// looked at as the CPU. Errors: one line that begins where the model is configured.
Status CheckModels(const ServerConfig& config, const ConfigOrigins& origins,
                   const BackendFactory& backends);

// What the server may use of its device.
int64_t MemoryLimitBytes(const ServerConfig& config, const BackendDevice& device);

// What weights that left the device may take of the host's memory. On a CPU that is the device's:
// what is taken off it would not be given back.
int64_t HostCacheBytes(const ServerConfig& config, const BackendDevice& device);

// How long a call of a model may take without progress; zero: for ever.
std::chrono::milliseconds WatchdogOf(const ServerConfig& config, const BackendDevice& device);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_APP_DEVICE_BINDING_H_
