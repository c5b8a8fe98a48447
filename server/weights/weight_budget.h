// WeightBudget: a format for each layer of a component, by the bytes that they may take or by the
// error that they may cause. Free of LibTorch.
#ifndef TIGHTFIT_SERVER_WEIGHTS_WEIGHT_BUDGET_H_
#define TIGHTFIT_SERVER_WEIGHTS_WEIGHT_BUDGET_H_

#include "server/weights/format_budget.h"
#include "server/weights/sensitivity.h"
#include "server/weights/weight_table.h"

#include <cstdint>
#include <string>
#include <vector>

namespace tightfit {

// Budgets are written in MiB, small ones with a fraction.
inline constexpr double kMib = 1 << 20;

// What the bytes of weights are counted in.
struct WeightUnits {
  int64_t dense_weight_bytes = 2;  // of one weight that is not packed
  int64_t block_bytes = 1;         // what an allocator gives is a multiple of it
};

// Immutable; thread-safe.
class WeightBudget {
 public:
  struct Plan {
    FormatsByModule formats;
    int64_t bytes = 0;   // of all tensors of the component
    double error = 0.0;  // predicted
  };

  // `table`: of the component's tensors. Layers that the scope does not take, that it excludes or
  // that were not measured stay dense.
  WeightBudget(const WeightTable& table, const Sensitivity& sensitivity, const PackingScope& scope,
               const WeightUnits& units);

  int64_t least_bytes() const { return dense_bytes_ + budget_.least_bytes(); }
  int64_t most_bytes() const { return dense_bytes_ + budget_.most_bytes(); }
  // Requires bytes >= least_bytes().
  Plan Within(int64_t bytes) const { return PlanOf(budget_.Within(bytes - dense_bytes_)); }
  Plan ForError(double error) const { return PlanOf(budget_.ForError(error)); }

 private:
  struct Choices {
    std::vector<BudgetLayer> layers;
    // Beside the choices of each layer; absent: dense.
    std::vector<std::vector<std::optional<WeightFormat>>> formats;
    int64_t dense_bytes = 0;  // of what has no choice
  };
  explicit WeightBudget(Choices choices);
  static Choices ChoicesOf(const WeightTable& table, const Sensitivity& sensitivity,
                           const PackingScope& scope, const WeightUnits& units);
  Plan PlanOf(const BudgetResult& result) const;

  const Choices choices_;
  const int64_t dense_bytes_;
  const FormatBudget budget_;
};

// INVALID_ARGUMENT with the least budget. `least_bytes`: of all weights of the model.
Status BudgetTooSmall(const std::string& setting, double budget_mib, int64_t least_bytes);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_WEIGHT_BUDGET_H_
