// FormatBudget: a format for each layer, so that the weights take at most so many bytes and the
// predicted error is small, or the other way round. Free of LibTorch.
//
// Errors of layers add up. All layers begin with their choice of least bytes; from there the steps
// along each layer's convex hull are taken in the order of error saved per byte. What is taken for
// fewer bytes is a beginning of what is taken for more: more bytes are never worse. After each step
// no other choice of as many bytes has a smaller error; between two steps bytes stay unused, fewer
// than the next step takes.
#ifndef TIGHTFIT_SERVER_WEIGHTS_FORMAT_BUDGET_H_
#define TIGHTFIT_SERVER_WEIGHTS_FORMAT_BUDGET_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tightfit {

// One way to hold a layer.
struct LayerChoice {
  int64_t bytes = 0;
  double error = 0.0;  // finite, not negative
};

struct BudgetLayer {
  std::string name;                  // of equal steps the smaller name's comes first
  std::vector<LayerChoice> choices;  // at least one
};

struct BudgetResult {
  std::vector<size_t> choices;  // the index into each layer's choices
  int64_t bytes = 0;
  double error = 0.0;
};

// Immutable; thread-safe. The same for the same layers, whatever their order.
class FormatBudget {
 public:
  explicit FormatBudget(const std::vector<BudgetLayer>& layers);

  // Of the smallest choice of each layer: no budget below it can be kept.
  int64_t least_bytes() const { return least_.bytes; }
  // Where more bytes save no error any more.
  int64_t most_bytes() const { return most_bytes_; }

  // Requires bytes >= least_bytes().
  BudgetResult Within(int64_t bytes) const;
  // The fewest steps after which the error is at most `error`; all of them where none suffices.
  BudgetResult ForError(double error) const;

 private:
  // Layer `layer` goes over to its choice `choice`.
  struct Step {
    size_t layer = 0;
    size_t choice = 0;
    int64_t bytes = 0;   // more
    double error = 0.0;  // less
  };
  static std::vector<Step> HullSteps(size_t index, const BudgetLayer& layer, size_t first);
  template <typename IsDone>
  BudgetResult Take(const IsDone& is_done) const;

  BudgetResult least_;
  std::vector<Step> steps_;           // in the order in which they are taken
  std::vector<double> errors_after_;  // steps_[i]: of all layers, summed anew
  int64_t most_bytes_ = 0;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_FORMAT_BUDGET_H_
