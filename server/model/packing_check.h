// CheckPacking: whether what the configuration says of packing names something in the model. Free
// of LibTorch.
#ifndef TIGHTFIT_SERVER_MODEL_PACKING_CHECK_H_
#define TIGHTFIT_SERVER_MODEL_PACKING_CHECK_H_

#include "server/base/status.h"
#include "server/model/packing_scope.h"
#include "server/model/safetensors.h"

#include <vector>

namespace tightfit {

// `tensors`: of the component that is packed. `packs`: a format was asked for. Errors:
// INVALID_ARGUMENT with one line if a name of `exclude` is no module, and none has it as its
// beginning up to a dot (the nearest name as a hint), or if `scope` takes nothing of the component.
Status CheckPacking(const std::vector<StoredTensor>& tensors, const PackingScope& scope,
                    bool packs);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_MODEL_PACKING_CHECK_H_
