#include "server/model/packing_check.h"

#include "server/base/closest_name.h"
#include "server/model/model_errors.h"
#include "server/model/weight_estimate.h"

#include <algorithm>
#include <set>
#include <string>
#include <string_view>

namespace tightfit {
namespace {

std::string_view ModuleOf(std::string_view tensor) {
  const size_t dot = tensor.rfind('.');
  return dot == tensor.npos ? std::string_view() : tensor.substr(0, dot);
}

// Every module that has tensors, and every one that such a module lies in.
std::set<std::string_view> ModulesOf(const std::vector<StoredTensor>& tensors) {
  std::set<std::string_view> modules;
  for (const StoredTensor& tensor : tensors) {
    for (std::string_view module = ModuleOf(tensor.name); !module.empty();
         module = ModuleOf(module)) {
      if (!modules.insert(module).second) break;
    }
  }
  return modules;
}

}  // namespace

Status CheckPacking(const std::vector<StoredTensor>& tensors, const PackingScope& scope,
                    bool packs) {
  const std::set<std::string_view> modules = ModulesOf(tensors);
  for (const std::string& name : scope.exclude) {
    if (modules.contains(name)) continue;
    const std::string hint = DidYouMean(name, {modules.begin(), modules.end()});
    return InvalidArgument("exclude: the UNet has no module \"" + Shown(name) + "\"" +
                           Shown(hint, 200));
  }
  const auto is_taken = [&](const StoredTensor& tensor) {
    return IsInScope(scope, ModuleOf(tensor.name), KindOf(tensor));
  };
  if (!packs || std::ranges::any_of(tensors, is_taken)) return OkStatus();
  return InvalidArgument("scope: \"" + scope.name +
                         "\" takes no weight of this model's UNet; use \"linear+conv\", or "
                         "format \"fp16\" to pack nothing");
}

}  // namespace tightfit
