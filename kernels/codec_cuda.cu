#include "kernels/codec_cuda.h"
#include "kernels/cuda/launch_decode.h"

namespace tightfit::cuda {

cudaError_t DecodeTensors(std::span<const DecodeJob> jobs, DecodedType type, cudaStream_t stream) {
  if (jobs.empty()) return cudaSuccess;
  DecodePlan plan;
  if (!PlanDecode(jobs, type, &plan)) return cudaErrorInvalidValue;
  const WeightFormat format = jobs[0].layout.format;
  switch (type) {
    case DecodedType::kFp16:
      return LaunchDecodeToFp16(format, plan, stream);
    case DecodedType::kBf16:
      return LaunchDecodeToBf16(format, plan, stream);
    case DecodedType::kFp32:
      return LaunchDecodeToFp32(format, plan, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace tightfit::cuda
