// From the measurements of single layers to what each layer's error in each format is expected to
// be.
#ifndef TIGHTFIT_CLIENT_FIDELITY_SENSITIVITY_SUMMARY_H_
#define TIGHTFIT_CLIENT_FIDELITY_SENSITIVITY_SUMMARY_H_

#include "client/fidelity/sensitivity_log.h"
#include "kernels/format.h"
#include "server/weights/sensitivity.h"

#include <array>
#include <string>
#include <vector>

namespace tightfit::fidelity {

// What budgets choose from: of each size the format of least noise.
inline constexpr std::array kBudgetFormats = {
    WeightFormat::kE3m8r, WeightFormat::kE3m6r, WeightFormat::kE2m5r,
    WeightFormat::kE2m3r, WeightFormat::kNf5,   WeightFormat::kNf458,
    WeightFormat::kNf4,   WeightFormat::kNf358, WeightFormat::kNf281};

// Sets formats and layers. A layer's error in a format that it was not drawn with is that of the
// drawn ones, by the ratio of the weights' noise; of several drawn ones the geometric mean. Prompts
// count alike, however much a prompt's latents go astray: each by a layer's share in the sum over
// layers, since what is wanted is a mean of decibels over prompts.
void SummarizeLayers(const std::vector<LayerMeasurement>& measurements, Sensitivity* sensitivity);

// Sets those of `joint` whose PSNR falls while the predicted error rises.
void SetJoint(std::vector<JointMeasurement> joint, Sensitivity* sensitivity);

// For people: the layers that count most and least, and how far sums of errors can be trusted.
// `path`: where the whole is.
std::string SensitivityReport(const Sensitivity& sensitivity, const std::string& path);

}  // namespace tightfit::fidelity

#endif  // TIGHTFIT_CLIENT_FIDELITY_SENSITIVITY_SUMMARY_H_
