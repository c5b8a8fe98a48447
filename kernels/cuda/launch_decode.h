// Launches of the decode kernels, one source file for each type: they compile side by side.
#ifndef TIGHTFIT_KERNELS_CUDA_LAUNCH_DECODE_H_
#define TIGHTFIT_KERNELS_CUDA_LAUNCH_DECODE_H_

#include "kernels/cuda/decode_table.h"
#include "kernels/format.h"

#include <cuda_runtime_api.h>

namespace tightfit::cuda {

cudaError_t LaunchDecodeToFp16(WeightFormat format, const DecodePlan& plan, cudaStream_t stream);
cudaError_t LaunchDecodeToBf16(WeightFormat format, const DecodePlan& plan, cudaStream_t stream);
cudaError_t LaunchDecodeToFp32(WeightFormat format, const DecodePlan& plan, cudaStream_t stream);

}  // namespace tightfit::cuda

#endif  // TIGHTFIT_KERNELS_CUDA_LAUNCH_DECODE_H_
