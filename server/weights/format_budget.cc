#include "server/weights/format_budget.h"

#include <algorithm>

namespace tightfit {
namespace {

// Of the choices of least bytes the one of least error.
size_t SmallestChoice(const BudgetLayer& layer) {
  size_t best = 0;
  for (size_t i = 1; i < layer.choices.size(); ++i) {
    const LayerChoice& choice = layer.choices[i];
    const LayerChoice& so_far = layer.choices[best];
    if (choice.bytes < so_far.bytes ||
        (choice.bytes == so_far.bytes && choice.error < so_far.error)) {
      best = i;
    }
  }
  return best;
}

}  // namespace

std::vector<FormatBudget::Step> FormatBudget::HullSteps(size_t index, const BudgetLayer& layer,
                                                        size_t first) {
  std::vector<Step> steps;
  size_t at = first;
  while (true) {
    // The steepest way down from here; of equally steep ones the longest, so that the next one is
    // less steep.
    const LayerChoice& from = layer.choices[at];
    Step best;
    for (size_t i = 0; i < layer.choices.size(); ++i) {
      const LayerChoice& to = layer.choices[i];
      if (to.bytes <= from.bytes || to.error >= from.error) continue;
      const Step step{index, i, to.bytes - from.bytes, from.error - to.error};
      const double left = step.error * static_cast<double>(best.bytes);
      const double right = best.error * static_cast<double>(step.bytes);
      if (best.bytes == 0 || left > right || (left == right && step.bytes > best.bytes)) {
        best = step;
      }
    }
    if (best.bytes == 0) return steps;
    steps.push_back(best);
    at = best.choice;
  }
}

FormatBudget::FormatBudget(const std::vector<BudgetLayer>& layers) {
  for (size_t i = 0; i < layers.size(); ++i) {
    const size_t first = SmallestChoice(layers[i]);
    least_.choices.push_back(first);
    least_.bytes += layers[i].choices[first].bytes;
    const std::vector<Step> steps = HullSteps(i, layers[i], first);
    steps_.insert(steps_.end(), steps.begin(), steps.end());
  }
  // Steps of one layer become less steep, and stay in order where rounding makes two equal.
  std::ranges::stable_sort(steps_, [&layers](const Step& a, const Step& b) {
    const double left = a.error / static_cast<double>(a.bytes);
    const double right = b.error / static_cast<double>(b.bytes);
    if (left != right) return left > right;
    return layers[a.layer].name < layers[b.layer].name;
  });
  // A running difference would never come to exactly zero.
  std::vector<double> by_layer(layers.size());
  std::vector<size_t> by_name(layers.size());
  for (size_t i = 0; i < layers.size(); ++i) {
    by_layer[i] = layers[i].choices[least_.choices[i]].error;
    by_name[i] = i;
  }
  std::ranges::sort(by_name, {}, [&layers](size_t i) { return layers[i].name; });
  const auto sum = [&] {
    double total = 0.0;
    for (const size_t i : by_name) total += by_layer[i];
    return total;
  };
  least_.error = sum();
  most_bytes_ = least_.bytes;
  for (const Step& step : steps_) {
    by_layer[step.layer] = layers[step.layer].choices[step.choice].error;
    errors_after_.push_back(sum());
    most_bytes_ += step.bytes;
  }
}

template <typename IsDone>
BudgetResult FormatBudget::Take(const IsDone& is_done) const {
  BudgetResult result = least_;
  for (size_t i = 0; i < steps_.size() && !is_done(result, steps_[i]); ++i) {
    result.choices[steps_[i].layer] = steps_[i].choice;
    result.bytes += steps_[i].bytes;
    result.error = errors_after_[i];
  }
  return result;
}

BudgetResult FormatBudget::Within(int64_t bytes) const {
  return Take([bytes](const BudgetResult& so_far, const Step& next) {
    return so_far.bytes + next.bytes > bytes;
  });
}

BudgetResult FormatBudget::ForError(double error) const {
  return Take([error](const BudgetResult& so_far, const Step&) { return so_far.error <= error; });
}

}  // namespace tightfit
