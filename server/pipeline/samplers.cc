#include "server/pipeline/samplers.h"

#include <array>

namespace tightfit {
namespace {

constexpr std::array<SamplerInfo, 15> kSamplers = {{
    {"euler", &MakeEuler},
    {"euler-karras", &MakeEulerKarras},
    {"euler-exponential", &MakeEulerExponential},
    {"euler-a", &MakeEulerAncestral},
    {"heun", &MakeHeun},
    {"ddim", &MakeDdim},
    {"dpmpp-2m", &MakeDpmSolver2M},
    {"dpmpp-2m-karras", &MakeDpmSolver2MKarras},
    {"dpmpp-2m-sde-karras", &MakeDpmSolver2MSdeKarras},
    {"dpmpp-sde", &MakeDpmSolverSde},
    {"dpmpp-sde-karras", &MakeDpmSolverSdeKarras},
    {"dpmpp-2s-a", &MakeDpmSolver2SAncestral},
    {"dpmpp-2s-a-karras", &MakeDpmSolver2SAncestralKarras},
    {"unipc", &MakeUniPc},
    {"lcm", &MakeLcm},
}};

}  // namespace

std::span<const SamplerInfo> Samplers() { return kSamplers; }

std::vector<std::string> SamplerNames() {
  std::vector<std::string> names;
  for (const SamplerInfo& info : kSamplers) names.emplace_back(info.name);
  return names;
}

Result<std::unique_ptr<Sampler>> MakeSampler(std::string_view name, const SchedulerConfig& config,
                                             int32_t step_count) {
  std::string known;
  for (const SamplerInfo& info : kSamplers) {
    if (info.name == name) return info.make(config, step_count);
    known += (known.empty() ? "" : ", ") + std::string(info.name);
  }
  return InvalidArgument("sampler must be one of " + known);
}

}  // namespace tightfit
