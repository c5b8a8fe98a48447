// CheckPacking: whether what the configuration says of packing names something in the model. Free
// of LibTorch.
#ifndef TIGHTFIT_SERVER_WEIGHTS_PACKING_CHECK_H_
#define TIGHTFIT_SERVER_WEIGHTS_PACKING_CHECK_H_

#include "server/base/component_formats.h"
#include "server/base/status.h"
#include "server/model/model_directory.h"
#include "server/model/safetensors.h"
#include "server/weights/weight_table.h"

#include <string>
#include <vector>

namespace tightfit {

// `tensors`, `layers`: of `component`. Errors: INVALID_ARGUMENT with one line if a name of
// `packing.scope.exclude` is no module, and none has it as its beginning up to a dot (the nearest
// name as a hint), or if a format was asked for and its scope takes nothing of the component.
Status CheckPacking(const std::string& component, const std::vector<StoredTensor>& tensors,
                    const LayerKinds& layers, const ComponentPacking& packing);

// Errors: INVALID_ARGUMENT if `formats` names a component that the model does not have.
Status CheckComponents(const ComponentFormats& formats, const ModelDirectory& directory);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_PACKING_CHECK_H_
