// EstimateWeights: what a component will take, from the header of its weight file alone. Free of
// LibTorch.
#ifndef TIGHTFIT_SERVER_MODEL_WEIGHT_ESTIMATE_H_
#define TIGHTFIT_SERVER_MODEL_WEIGHT_ESTIMATE_H_

#include "kernels/format.h"
#include "server/model/packing_scope.h"
#include "server/model/safetensors.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace tightfit {

// What kind of layer a tensor is the weight of, by its name and shape: matrices count as Linear and
// tensors of four dimensions as Conv2d, which holds for SDXL's UNet.
LayerKind KindOf(const StoredTensor& tensor);

struct WeightEstimate {
  int64_t weight_bytes = 0;   // of all tensors as they are held
  int64_t staging_bytes = 0;  // beside them while they are converted
  int64_t decoded_bytes = 0;  // of the largest packed weight, once decoded for a product
};

// An upper bound, with the longest side lists there can be; but a weight whose values turn out not
// to fit the format stays as it is and takes more. `block_bytes`: what the device's allocator gives
// is a multiple of it.
WeightEstimate EstimateWeights(const std::vector<StoredTensor>& tensors,
                               std::optional<WeightFormat> format, const PackingScope& scope,
                               int64_t dtype_bytes, int64_t block_bytes);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_MODEL_WEIGHT_ESTIMATE_H_
