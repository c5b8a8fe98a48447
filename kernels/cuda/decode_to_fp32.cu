#include "kernels/cuda/decode_kernel.h"
#include "kernels/cuda/launch_decode.h"

namespace tightfit::cuda {

cudaError_t LaunchDecodeToFp32(WeightFormat format, const DecodePlan& plan, cudaStream_t stream) {
  return LaunchDecode<DecodedType::kFp32>(format, plan, stream);
}

}  // namespace tightfit::cuda
