// Which number format a model computes in.
#ifndef TIGHTFIT_SERVER_PIPELINE_COMPUTE_DTYPE_H_
#define TIGHTFIT_SERVER_PIPELINE_COMPUTE_DTYPE_H_

#include "server/base/status.h"
#include "server/model/model_directory.h"

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <span>
#include <string>
#include <string_view>

namespace tightfit {

// "fp32", "bf16", "fp16": the names of a model directory's graphs.
std::string_view DtypeName(at::ScalarType dtype);

// What models compute in on a device unless told otherwise, the best first: fp16 on CUDA; on a CPU
// bf16 where it multiplies matrices in it, else fp32.
std::span<const at::ScalarType> PreferredDtypes(at::Device device);

struct ComputeDtypes {
  at::ScalarType model;  // of the UNet and both text encoders
  at::ScalarType vae;    // fp32 where the model's VAE overflows in less (force_upcast)
};

// "auto" takes the first of `preferred` that the directory has; the choice shows in
// ModelDescription::compute_dtype. A dtype asked for by name is taken or refused: INVALID_ARGUMENT
// `COMPUTE_DTYPE_UNAVAILABLE` with the list of those that the directory has.
Result<ComputeDtypes> ResolveComputeDtype(const ModelDirectory& directory,
                                          std::string_view requested,
                                          std::span<const at::ScalarType> preferred);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_COMPUTE_DTYPE_H_
