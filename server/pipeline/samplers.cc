#include "server/pipeline/samplers.h"

#include <array>

namespace tightfit {
namespace {

constexpr std::array<SamplerInfo, 25> kSamplers = {{
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
    {"dpmpp-3m-sde", &MakeDpmSolver3MSde},
    {"dpmpp-3m-sde-karras", &MakeDpmSolver3MSdeKarras},
    {"kdpm2", &MakeKdpm2},
    {"kdpm2-karras", &MakeKdpm2Karras},
    {"kdpm2-a", &MakeKdpm2Ancestral},
    {"kdpm2-a-karras", &MakeKdpm2AncestralKarras},
    {"deis", &MakeDeis},
    {"deis-karras", &MakeDeisKarras},
    {"unipc", &MakeUniPc},
    {"pndm", &MakePndm},
    {"ddpm", &MakeDdpm},
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
