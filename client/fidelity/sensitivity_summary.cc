#include "client/fidelity/sensitivity_summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <utility>

namespace tightfit::fidelity {
namespace {

struct DrawnError {
  double noise = 0.0;
  double error = 0.0;
};

// By layer, each format that it was drawn with.
using DrawnErrors = std::map<std::string, std::map<std::string, DrawnError>>;

// For each prompt the sum over the layers in `format`.
std::vector<double> SumsByPrompt(const std::vector<LayerMeasurement>& measurements,
                                 const std::string& format) {
  std::vector<double> sums;
  for (const LayerMeasurement& measurement : measurements) {
    if (measurement.format != format) continue;
    sums.resize(std::max(sums.size(), measurement.errors.size()));
    for (size_t i = 0; i < measurement.errors.size(); ++i) sums[i] += measurement.errors[i];
  }
  return sums;
}

double GeometricMean(const std::vector<double>& values) {
  double sum = 0.0;
  for (const double value : values) sum += std::log(value);
  return values.empty() ? 0.0 : std::exp(sum / static_cast<double>(values.size()));
}

DrawnErrors ErrorsOf(const std::vector<LayerMeasurement>& measurements) {
  DrawnErrors drawn;
  std::map<std::string, std::vector<double>> sums;
  for (const LayerMeasurement& measurement : measurements) {
    if (measurement.errors.empty()) continue;
    auto [found, is_new] = sums.try_emplace(measurement.format);
    if (is_new) found->second = SumsByPrompt(measurements, measurement.format);
    std::vector<double> positive;
    double share = 0.0;
    for (size_t i = 0; i < measurement.errors.size(); ++i) {
      if (found->second[i] <= 0.0) continue;
      share += measurement.errors[i] / found->second[i];
      positive.push_back(found->second[i]);
    }
    if (!positive.empty()) share /= static_cast<double>(positive.size());
    drawn[measurement.layer][measurement.format] = {*measurement.noise,
                                                    share * GeometricMean(positive)};
  }
  return drawn;
}

// What `noise` does where the drawn formats did what they did.
double ErrorFor(double noise, const std::map<std::string, DrawnError>& drawn) {
  std::vector<double> ratios;
  for (const auto& [format, one] : drawn) {
    if (one.noise > 0.0 && one.error > 0.0) ratios.push_back(one.error / one.noise);
  }
  return noise * GeometricMean(ratios);
}

}  // namespace

void SummarizeLayers(const std::vector<LayerMeasurement>& measurements, Sensitivity* sensitivity) {
  sensitivity->formats.assign(kBudgetFormats.begin(), kBudgetFormats.end());
  sensitivity->layers.clear();
  const DrawnErrors drawn = ErrorsOf(measurements);
  for (const LayerMeasurement& measurement : measurements) {
    const auto format = FormatByName(measurement.format);
    const auto column = std::ranges::find(kBudgetFormats, format);
    const auto known = drawn.find(measurement.layer);
    if (column == kBudgetFormats.end() || known == drawn.end() || !measurement.noise) continue;
    auto& errors = sensitivity->layers[measurement.layer];
    errors.resize(kBudgetFormats.size());
    const auto exact = known->second.find(measurement.format);
    errors[column - kBudgetFormats.begin()] = exact != known->second.end()
                                                  ? exact->second.error
                                                  : ErrorFor(*measurement.noise, known->second);
  }
}

void SetJoint(std::vector<JointMeasurement> joint, Sensitivity* sensitivity) {
  std::ranges::sort(joint, {}, &JointMeasurement::predicted_error);
  sensitivity->joint.clear();
  for (JointMeasurement& one : joint) {
    if (one.predicted_error <= 0.0 || one.latent_error <= 0.0) continue;
    const auto& so_far = sensitivity->joint;
    if (!so_far.empty() && (one.predicted_error <= so_far.back().predicted_error ||
                            one.image_psnr_db >= so_far.back().image_psnr_db)) {
      continue;
    }
    sensitivity->joint.push_back(std::move(one));
  }
}

std::string SensitivityReport(const Sensitivity& sensitivity, const std::string& path) {
  constexpr size_t kShown = 5;
  const size_t column =
      std::ranges::find(kBudgetFormats, WeightFormat::kNf4) - kBudgetFormats.begin();
  std::vector<std::pair<double, std::string>> layers;
  double sum = 0.0;
  for (const auto& [name, errors] : sensitivity.layers) {
    if (!errors[column].has_value()) continue;
    layers.emplace_back(*errors[column], name);
    sum += *errors[column];
  }
  std::ranges::sort(layers, std::greater<>());
  std::string text = fmt::format("{} layers; of the sum of their errors in nf4, the most:\n",
                                 sensitivity.layers.size());
  for (size_t i = 0; i < std::min(layers.size(), kShown); ++i) {
    text += fmt::format("  {:5.1f} %  {}\n", 100.0 * layers[i].first / sum, layers[i].second);
  }
  text += "All layers at once:\n";
  for (const JointMeasurement& joint : sensitivity.joint) {
    text +=
        fmt::format("  {:6}  error {:.2e}, the sum of single layers {:.2e}; image PSNR {:.1f} dB\n",
                    joint.format, joint.latent_error, joint.predicted_error, joint.image_psnr_db);
  }
  return text + "written to " + path + "\n";
}

}  // namespace tightfit::fidelity
