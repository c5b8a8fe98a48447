#include "server/pipeline/compute_dtype.h"

#include "server/device/cpu_products.h"

#include <array>
#include <optional>
#include <utility>

namespace tightfit {
namespace {

struct NamedDtype {
  std::string_view name;
  at::ScalarType dtype;
};
constexpr std::array<NamedDtype, 3> kDtypes = {
    {{"fp32", at::kFloat}, {"bf16", at::kBFloat16}, {"fp16", at::kHalf}}};

bool HasGraph(const ModelDirectory& directory, const std::string& component, at::ScalarType dtype) {
  const auto found = directory.components.find(component);
  return found != directory.components.end() &&
         found->second.graphs.contains(std::string(DtypeName(dtype)));
}

// The dtype of the VAE when the rest computes in `model`, if the directory has the graphs for both.
std::optional<at::ScalarType> VaeDtypeBeside(const ModelDirectory& directory,
                                             at::ScalarType model) {
  for (const auto& [name, component] : directory.components) {
    const bool is_of_vae = name == "vae" || name == kVaeEncoder;
    if (!is_of_vae && !HasGraph(directory, name, model)) return std::nullopt;
  }
  if (!directory.vae_force_upcast && HasGraph(directory, "vae", model)) return model;
  if (HasGraph(directory, "vae", at::kFloat)) return at::kFloat;
  return std::nullopt;
}

constexpr std::array kOnCuda = {at::kHalf, at::kBFloat16, at::kFloat};
constexpr std::array kOnCpuWithBf16 = {at::kBFloat16, at::kFloat, at::kHalf};
constexpr std::array kOnCpu = {at::kFloat, at::kBFloat16, at::kHalf};

}  // namespace

std::string_view DtypeName(at::ScalarType dtype) {
  for (const NamedDtype& named : kDtypes) {
    if (named.dtype == dtype) return named.name;
  }
  return "unknown";
}

std::span<const at::ScalarType> PreferredDtypes(at::Device device) {
  if (device.is_cuda()) return kOnCuda;
  return CpuHasBf16() ? std::span<const at::ScalarType>(kOnCpuWithBf16) : kOnCpu;
}

Result<ComputeDtypes> ResolveComputeDtype(const ModelDirectory& directory,
                                          std::string_view requested,
                                          std::span<const at::ScalarType> preferred) {
  std::vector<ComputeDtypes> available;
  std::string names;
  for (const NamedDtype& named : kDtypes) {
    const std::optional<at::ScalarType> vae = VaeDtypeBeside(directory, named.dtype);
    if (!vae.has_value()) continue;
    available.push_back({.model = named.dtype, .vae = *vae});
    names += (names.empty() ? "" : ", ") + std::string(named.name);
  }
  const auto take = [&](at::ScalarType dtype) -> std::optional<ComputeDtypes> {
    for (const ComputeDtypes& choice : available) {
      if (choice.model == dtype) return choice;
    }
    return std::nullopt;
  };
  if (requested == "auto") {
    for (const at::ScalarType dtype : preferred) {
      if (const auto choice = take(dtype)) return *choice;
    }
  }
  for (const NamedDtype& named : kDtypes) {
    if (named.name != requested) continue;
    if (const auto choice = take(named.dtype)) return *choice;
  }
  return Status(StatusCode::kInvalidArgument, "COMPUTE_DTYPE_UNAVAILABLE",
                "compute_dtype \"" + std::string(requested) +
                    "\" is not available for this model; "
                    "its directory has " +
                    (names.empty() ? "no complete set of graphs" : names));
}

}  // namespace tightfit
