// Latents as a safetensors file of one tensor: what one request leaves and another goes on from.
#ifndef TIGHTFIT_SERVER_IMAGE_LATENTS_FILE_H_
#define TIGHTFIT_SERVER_IMAGE_LATENTS_FILE_H_

#include "server/base/status.h"
#include "server/engine/generation.h"

#include <string>
#include <string_view>

namespace tightfit {

// One fp32 tensor "latents" of shape [channels, height, width].
std::string EncodeLatents(const Latents& latents);

// Reads exactly such a file; the tensor may have a leading dimension of 1. Allocates no more than
// `bytes` has. Errors: INVALID_ARGUMENT with what is wrong, as it stands after the name of a field.
Result<Latents> DecodeLatents(std::string_view bytes);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_IMAGE_LATENTS_FILE_H_
