// Which number format a model computes in.
#ifndef TIGHTFIT_SERVER_PIPELINE_COMPUTE_DTYPE_H_
#define TIGHTFIT_SERVER_PIPELINE_COMPUTE_DTYPE_H_

#include "server/base/status.h"
#include "server/model/model_directory.h"

#include <c10/core/ScalarType.h>

#include <string>
#include <string_view>

namespace tightfit {

// "fp32", "bf16", "fp16": the names of a model directory's graphs.
std::string_view DtypeName(at::ScalarType dtype);

// Whether this CPU multiplies matrices in bf16.
bool CpuHasBf16();

struct ComputeDtypes {
  at::ScalarType model;  // of the UNet and both text encoders
  at::ScalarType vae;    // fp32 where the model's VAE overflows in less (force_upcast)
};

// "auto" prefers bf16 where `has_bf16`, then fp32, and takes what else the directory has rather
// than refuse; the choice shows in ModelDescription::compute_dtype. A dtype asked for by name is
// taken or refused: INVALID_ARGUMENT `COMPUTE_DTYPE_UNAVAILABLE` with the list of those that the
// directory has.
Result<ComputeDtypes> ResolveComputeDtype(const ModelDirectory& directory,
                                          std::string_view requested, bool has_bf16);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_COMPUTE_DTYPE_H_
