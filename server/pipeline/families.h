// Family: what the models of a family have in common. All that this server knows of a family by its
// name stands in families.cc; everything else follows from what a model directory describes.
#ifndef TIGHTFIT_SERVER_PIPELINE_FAMILIES_H_
#define TIGHTFIT_SERVER_PIPELINE_FAMILIES_H_

#include "server/base/status.h"
#include "server/model/model_directory.h"

namespace tightfit {

// Whether this build serves models such as `directory` describes. Errors: UNIMPLEMENTED
// `UNSUPPORTED_MODEL` for a family that it does not know; FAILED_PRECONDITION `BAD_MODEL_DIRECTORY`
// for a model that is not what its family says, or whose denoiser takes what no request has.
Status CheckFamily(const ModelDirectory& directory);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_FAMILIES_H_
