// NeverServed: what keeps every request of a model from being served, as the server is configured.
#ifndef TIGHTFIT_SERVER_ENGINE_NEVER_SERVED_H_
#define TIGHTFIT_SERVER_ENGINE_NEVER_SERVED_H_

#include "server/base/limits.h"
#include "server/engine/diffusion_model.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tightfit {

// One line for the operator for each reason: the model is larger than `memory_limit_bytes` even
// where nothing else is on the device (nullopt: not known), or no size that `limits` allow is one
// of its own. Empty if there is none.
std::vector<std::string> NeverServed(const ModelDescription& model, const Limits& limits,
                                     std::optional<int64_t> memory_limit_bytes);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_NEVER_SERVED_H_
