// The `parameters` text of A1111's PNG files, which common viewers and web interfaces read, and
// which client/cpp/parameters_text draws the same image from again.
#ifndef TIGHTFIT_SERVER_IMAGE_PARAMETERS_TEXT_H_
#define TIGHTFIT_SERVER_IMAGE_PARAMETERS_TEXT_H_

#include "server/engine/diffusion_model.h"
#include "server/engine/generation.h"

#include <cstdint>
#include <string>

namespace tightfit {

// "PROMPT\nNegative prompt: ...\nSteps: 25, Sampler: Euler a, CFG scale: 5, Seed: 1, Size: 64x64,
// Model hash: 0123456789, Model: name, Clip skip: 2, RNG: CPU, ..., Version: tightfit 0.1.0" for
// one image with `seed`. What A1111 and its extensions have a name for stands under that name and
// in their way of counting; the rest of the parameters follows where it differs from its default.
//
//   Clip skip        as A1111 counts: 2 is SDXL's usual last but one, 1 the last, as SD 1.x and
//                    2.x have it. Always there, since some readers take the last layer without it
//   Layers left out  our clip_skip, where the usual one is not SDXL's
//   Schedule type    where the levels are others than A1111 would take for the sampler by itself
//   Denoising strength  where an image was drawn over, which is no part of the text
//   Mask blur        where it was drawn over in a mask
//   Inpaint area     "Only masked" with Masked area padding, where only its surroundings were
//   drawn;
//                    Size is theirs then
//   Outpaint         left, top, right and bottom, where the image was made larger
//   Emphasis         "No norm": weights as they are applied here; "None": plain syntax
//   Negative prompt  no line where it is absent, an empty one where it is empty
//   Prompt, Negative prompt (in the list)  only where their lines would not be read back exactly; a
//                    prompt that holds "Negative prompt:" is a JSON string in its line
//
// A value with a comma, colon, newline or quote at its start is a JSON string. NUL becomes U+FFFD.
std::string ParametersText(const GenerationParameters& parameters, int64_t seed,
                           const ModelDescription& model);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_IMAGE_PARAMETERS_TEXT_H_
