#include "server/base/closest_name.h"

#include <algorithm>

namespace tightfit {
namespace {

// Nobody mistypes a name into something longer; keeps the table small.
constexpr size_t kMaxLength = 64;

// Optimal string alignment distance: insertions, deletions, substitutions, swapped neighbours.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> table(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) table[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) table[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = table[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      table[i][j] = std::min({substituted, table[i - 1][j] + 1, table[i][j - 1] + 1});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) table[i][j] = std::min(table[i][j], table[i - 2][j - 2] + 1);
    }
  }
  return table[a.size()][b.size()];
}

}  // namespace

std::string_view ClosestName(std::string_view name, const std::vector<std::string_view>& known) {
  if (name.empty() || name.size() > kMaxLength) return {};
  std::string_view closest;
  size_t best = 0;
  for (const std::string_view candidate : known) {
    const size_t allowed = std::max<size_t>(1, std::max(name.size(), candidate.size()) / 3);
    const size_t distance = EditDistance(name, candidate);
    if (distance <= allowed && (closest.empty() || distance < best)) {
      best = distance;
      closest = candidate;
    }
  }
  return closest;
}

std::string DidYouMean(std::string_view name, const std::vector<std::string_view>& known) {
  const std::string_view closest = ClosestName(name, known);
  return closest.empty() ? "" : "; did you mean \"" + std::string(closest) + "\"?";
}

}  // namespace tightfit
