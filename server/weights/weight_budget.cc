#include "server/weights/weight_budget.h"

#include <utility>

namespace tightfit {

WeightBudget::Choices WeightBudget::ChoicesOf(const WeightTable& table,
                                              const Sensitivity& sensitivity,
                                              const PackingScope& scope,
                                              const WeightUnits& units) {
  const auto in_blocks = [&units](int64_t bytes) {
    return (bytes + units.block_bytes - 1) / units.block_bytes * units.block_bytes;
  };
  Choices choices;
  for (const WeightEntry& entry : table.entries()) {
    const StoredTensor& tensor = entry.tensor;
    const std::string_view module = ModuleOf(tensor.name);
    const int64_t dense_bytes = in_blocks(tensor.element_count * units.dense_weight_bytes);
    const auto measured = sensitivity.layers.find(module);
    if (!IsInScope(scope, module, entry.kind) || IsExcluded(scope, module) ||
        tensor.dtype == StoredDtype::kF32 || measured == sensitivity.layers.end()) {
      choices.dense_bytes += dense_bytes;
      continue;
    }
    BudgetLayer layer{.name = std::string(module), .choices = {{dense_bytes, 0.0}}};
    std::vector<std::optional<WeightFormat>> formats = {std::nullopt};
    for (size_t i = 0; i < sensitivity.formats.size(); ++i) {
      if (!measured->second[i].has_value()) continue;
      const WeightFormat format = sensitivity.formats[i];
      layer.choices.push_back(
          {in_blocks(LargestPackedBytes(format, tensor)), *measured->second[i]});
      formats.emplace_back(format);
    }
    choices.layers.push_back(std::move(layer));
    choices.formats.push_back(std::move(formats));
  }
  return choices;
}

WeightBudget::WeightBudget(Choices choices)
    : choices_(std::move(choices)),
      dense_bytes_(choices_.dense_bytes),
      budget_(choices_.layers) {}

WeightBudget::WeightBudget(const WeightTable& table, const Sensitivity& sensitivity,
                           const PackingScope& scope, const WeightUnits& units)
    : WeightBudget(ChoicesOf(table, sensitivity, scope, units)) {}

WeightBudget::Plan WeightBudget::PlanOf(const BudgetResult& result) const {
  Plan plan{.formats = {}, .bytes = dense_bytes_ + result.bytes, .error = result.error};
  for (size_t i = 0; i < choices_.layers.size(); ++i) {
    plan.formats[choices_.layers[i].name] = choices_.formats[i][result.choices[i]];
  }
  return plan;
}

Status BudgetTooSmall(const std::string& setting, int64_t budget_mib, int64_t least_bytes) {
  constexpr int64_t kMib = 1 << 20;
  return InvalidArgument(setting + ": " + std::to_string(budget_mib) +
                         " MiB are too few for this model's weights; the least is " +
                         std::to_string((least_bytes + kMib - 1) / kMib));
}

}  // namespace tightfit
