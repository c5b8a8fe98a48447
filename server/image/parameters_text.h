// The `parameters` text of A1111's PNG files, which common viewers and web interfaces read.
#ifndef TIGHTFIT_SERVER_IMAGE_PARAMETERS_TEXT_H_
#define TIGHTFIT_SERVER_IMAGE_PARAMETERS_TEXT_H_

#include "server/engine/generation.h"

#include <string>
#include <string_view>

namespace tightfit {

// "PROMPT\nNegative prompt: ...\nSteps: 25, Sampler: Euler a, CFG scale: 5, Seed: 1, Size: 64x64,
// Model hash: 0123456789, Model: name, Version: tightfit 0.1.0" for one image with `seed`. Of
// `model_hash` the first 10 digits. No negative line without a negative prompt; `Prompt 2` and
// `Negative prompt 2` stand before Version where the request has them. A value with a comma, colon
// or newline is a JSON string. NUL becomes U+FFFD.
std::string ParametersText(const GenerationParameters& parameters, int64_t seed,
                           std::string_view model_hash);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_IMAGE_PARAMETERS_TEXT_H_
