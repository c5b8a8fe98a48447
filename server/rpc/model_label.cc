#include "server/rpc/model_label.h"

#include <vector>

namespace tightfit {

std::string ModelLabel(const std::string& name, const ModelRegistry& registry) {
  return registry.Find(name).has_value() ? name : "unknown";
}

std::string ModelLabel(const v1::ImageParameters& parameters, const ModelRegistry& registry) {
  if (!parameters.model().empty()) return ModelLabel(parameters.model(), registry);
  const std::vector<ModelSnapshot> models = registry.List();
  return models.size() == 1 ? models.front().spec.name : "unknown";
}

}  // namespace tightfit
