// Names that samplers have elsewhere, to the names that they have here. Free of gRPC and of
// LibTorch.
#ifndef TIGHTFIT_SERVER_ENGINE_SAMPLER_NAMES_H_
#define TIGHTFIT_SERVER_ENGINE_SAMPLER_NAMES_H_

#include "server/base/status.h"

#include <string>
#include <string_view>
#include <vector>

namespace tightfit {

// The name of `samplers` that `name` means, whatever its capitals, spaces and underscores:
//   our own                      "dpmpp-2m-karras"
//   as A1111 and Forge show it   "DPM++ 2M Karras", "Euler a"; the sampler alone is that without a
//                                schedule, whatever their "Automatic" takes
//   of ComfyUI, k-diffusion      "dpmpp_2m", "dpmpp_2m_karras", "k_euler_ancestral", "uni_pc_bh2"
//   of InvokeAI                  "dpmpp_2m_k"
//   a class of diffusers         "DPMSolverMultistepScheduler"
// Errors: INVALID_ARGUMENT, which says what is known of the name: that the model lacks the sampler,
// or a schedule that it is not served with, or the nearest name; and lists `samplers`.
Result<std::string> ResolveSamplerName(std::string_view name,
                                       const std::vector<std::string>& samplers);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_SAMPLER_NAMES_H_
