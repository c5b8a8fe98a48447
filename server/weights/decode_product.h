// DecodeProduct: decodes a packed weight whole, in x's dtype, into one buffer that all layers of
// all models share, one per thread that calls, and leaves the product to LibTorch. A dense weight
// is used as it is.
//
// Decoding panels within the product costs more than it saves on a CPU. On CUDA the same happens on
// the default stream, where the next layer's decoding waits for this one's product.
#ifndef TIGHTFIT_SERVER_WEIGHTS_DECODE_PRODUCT_H_
#define TIGHTFIT_SERVER_WEIGHTS_DECODE_PRODUCT_H_

#include "server/memory/memory_accounts.h"
#include "server/weights/product.h"

#include <cstdint>

namespace tightfit {

const Product& DecodeProduct();

// The buffer's account: no model and no component, since it belongs to none, purpose kScratch.
MemoryAccount* DecodeScratchAccount();

// Makes the calling thread's buffer at least `size_bytes` long, on `device`; products grow it
// themselves when they must. May throw c10::OutOfMemoryError.
void ReserveDecodeScratch(int64_t size_bytes, at::Device device);

// Frees the calling thread's buffer.
void ReleaseDecodeScratch();

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_DECODE_PRODUCT_H_
