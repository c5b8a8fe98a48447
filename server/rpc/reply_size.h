// LargestUnaryReplyBytes: how large the answer to a request can get, known before it is drawn.
#ifndef TIGHTFIT_SERVER_RPC_REPLY_SIZE_H_
#define TIGHTFIT_SERVER_RPC_REPLY_SIZE_H_

#include "server/engine/generation.h"

#include <cstdint>

namespace tightfit {

// No GenerateImagesResponse for `parameters` is larger, its warnings left out, however badly its
// images compress.
int64_t LargestUnaryReplyBytes(const GenerationParameters& parameters);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_REPLY_SIZE_H_
