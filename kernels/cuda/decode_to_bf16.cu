#include "kernels/cuda/decode_kernel.h"
#include "kernels/cuda/launch_decode.h"

namespace tightfit::cuda {

cudaError_t LaunchDecodeToBf16(WeightFormat format, const DecodePlan& plan, cudaStream_t stream) {
  return LaunchDecode<DecodedType::kBf16>(format, plan, stream);
}

}  // namespace tightfit::cuda
