#include "server/weights/packing_scope.h"

#include <algorithm>
#include <array>

namespace tightfit {
namespace {

// Whether `name` is `prefix` or lies below it.
bool IsWithin(std::string_view name, std::string_view prefix) {
  return name.substr(0, prefix.size()) == prefix &&
         (name.size() == prefix.size() || name[prefix.size()] == '.');
}

// diffusers' UNet: attn1, attn2; its VAE: to_q ... without them; CLIP: self_attn.
bool IsWithinAttention(std::string_view module) {
  const std::string dotted = "." + std::string(module) + ".";
  constexpr std::array kSegments = std::to_array<std::string_view>(
      {".attn1.", ".attn2.", ".self_attn.", ".to_q.", ".to_k.", ".to_v.", ".to_out.0."});
  return std::any_of(kSegments.begin(), kSegments.end(), [&](std::string_view segment) {
    return dotted.find(segment) != std::string::npos;
  });
}

}  // namespace

bool IsPackingScope(std::string_view name) {
  return name == "attention" || name == "linear" || name == "linear+conv";
}

bool IsInScope(const PackingScope& scope, std::string_view module, LayerKind kind) {
  if (kind == LayerKind::kLinear) return scope.name != "attention" || IsWithinAttention(module);
  return kind == LayerKind::kConv2d && scope.name == "linear+conv";
}

bool IsExcluded(const PackingScope& scope, std::string_view module) {
  return std::any_of(scope.exclude.begin(), scope.exclude.end(),
                     [&](const std::string& prefix) { return IsWithin(module, prefix); });
}

}  // namespace tightfit
