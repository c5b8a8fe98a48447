#include "server/weights/weight_budget.h"

#include <cmath>
#include <cstdio>
#include <utility>

namespace tightfit {

WeightBudget::Choices WeightBudget::ChoicesOf(const WeightTable& table,
                                              const Sensitivity& sensitivity,
                                              const PackingScope& scope, const WeightUnits& units) {
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
    : choices_(std::move(choices)), dense_bytes_(choices_.dense_bytes), budget_(choices_.layers) {}

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

Status BudgetTooSmall(const std::string& setting, double budget_mib, int64_t least_bytes) {
  // Upwards, so that what is named suffices.
  const double mib = static_cast<double>(least_bytes) / kMib;
  const double parts = mib < 100.0 ? 10000.0 : 10.0;
  char text[160];
  std::snprintf(text, sizeof(text),
                "%s: %.8g MiB are too few for this model's weights; the least is %.8g",
                setting.c_str(), budget_mib, std::ceil(mib * parts) / parts);
  return InvalidArgument(text);
}

}  // namespace tightfit
