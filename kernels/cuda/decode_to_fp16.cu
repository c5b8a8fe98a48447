#include "kernels/cuda/decode_kernel.h"
#include "kernels/cuda/launch_decode.h"

namespace tightfit::cuda {

cudaError_t LaunchDecodeToFp16(WeightFormat format, const DecodePlan& plan, cudaStream_t stream) {
  return LaunchDecode<DecodedType::kFp16>(format, plan, stream);
}

}  // namespace tightfit::cuda
