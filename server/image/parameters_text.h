// The `parameters` text of A1111's PNG files, which common viewers and web interfaces read.
#ifndef TIGHTFIT_SERVER_IMAGE_PARAMETERS_TEXT_H_
#define TIGHTFIT_SERVER_IMAGE_PARAMETERS_TEXT_H_

#include <string>
#include <string_view>

#include "server/engine/generation.h"

namespace tightfit {

// "PROMPT\nNegative prompt: ...\nSteps: 25, Sampler: Euler a, CFG scale: 5, Seed: 1, Size: 64x64,
// Model hash: 0123456789, Model: name, Version: tightfit 0.1.0" for one image with `seed`.
std::string ParametersText(const GenerationParameters& parameters, int64_t seed,
                           std::string_view model_hash);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_IMAGE_PARAMETERS_TEXT_H_
