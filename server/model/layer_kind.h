// LayerKind: what a module's weight multiplies by, as far as packing cares.
#ifndef TIGHTFIT_SERVER_MODEL_LAYER_KIND_H_
#define TIGHTFIT_SERVER_MODEL_LAYER_KIND_H_

#include <cstdint>

namespace tightfit {

enum class LayerKind : uint8_t { kOther, kLinear, kConv2d };

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_MODEL_LAYER_KIND_H_
