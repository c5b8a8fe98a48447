// PackingScope: which modules' weights are packed. Free of LibTorch.
#ifndef TIGHTFIT_SERVER_WEIGHTS_PACKING_SCOPE_H_
#define TIGHTFIT_SERVER_WEIGHTS_PACKING_SCOPE_H_

#include "server/model/layer_kind.h"

#include <string>
#include <string_view>
#include <vector>

namespace tightfit {

// Which modules' weights are packed.
struct PackingScope {
  // "attention": Linear within attention (attn1, attn2, self_attn; to_q, to_k, to_v, to_out.0);
  // "linear": every Linear; "linear+conv": every Linear and Conv2d.
  std::string name = "linear+conv";
  // Modules of these names, and what lies below them, stay unpacked.
  std::vector<std::string> exclude;
};
bool IsPackingScope(std::string_view name);

// Whether the scope takes the weight of a module of this kind, whatever it excludes.
bool IsInScope(const PackingScope& scope, std::string_view module, LayerKind kind);
bool IsExcluded(const PackingScope& scope, std::string_view module);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_PACKING_SCOPE_H_
