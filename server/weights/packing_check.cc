#include "server/weights/packing_check.h"

#include "server/base/closest_name.h"
#include "server/model/model_errors.h"

#include <algorithm>
#include <set>
#include <string>
#include <string_view>

namespace tightfit {
namespace {

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

Status CheckPacking(const std::string& component, const std::vector<StoredTensor>& tensors,
                    const LayerKinds& layers, const ComponentPacking& packing) {
  const PackingScope& scope = packing.scope;
  const std::string called = component == "unet" ? "UNet" : component;
  const std::set<std::string_view> modules = ModulesOf(tensors);
  for (const std::string& name : scope.exclude) {
    if (modules.contains(name)) continue;
    const std::string hint = DidYouMean(name, {modules.begin(), modules.end()});
    return InvalidArgument("exclude: the " + called + " has no module \"" + Shown(name) + "\"" +
                           Shown(hint, 200));
  }
  const auto is_taken = [&](const StoredTensor& tensor) {
    return IsInScope(scope, ModuleOf(tensor.name), KindOf(tensor, layers));
  };
  if (!packing.packs() || std::ranges::any_of(tensors, is_taken)) return OkStatus();
  return InvalidArgument("scope: \"" + scope.name + "\" takes no weight of this model's " + called +
                         "; use \"linear+conv\", or format \"fp16\" to pack nothing");
}

Status CheckComponents(const ComponentFormats& formats, const ModelDirectory& directory) {
  for (const auto& [name, format] : formats) {
    if (directory.components.contains(name)) continue;
    return InvalidArgument("format names " + name + ", which a model of the family " +
                           Shown(directory.family) + " does not have");
  }
  return OkStatus();
}

}  // namespace tightfit
