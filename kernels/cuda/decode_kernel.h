// The bodies of decode_body.h as kernels, and their launch.
#ifndef TIGHTFIT_KERNELS_CUDA_DECODE_KERNEL_H_
#define TIGHTFIT_KERNELS_CUDA_DECODE_KERNEL_H_

#include "kernels/cuda/decode_body.h"
#include "kernels/cuda/visit_format.h"

#include <cuda_runtime_api.h>

namespace tightfit::cuda {

template <WeightFormat kFormat, DecodedType kType, bool kIsFlat, typename Codec = Decoder<kFormat>>
__global__ void __launch_bounds__(kThreadsPerBlock)
    DecodeKernel(const __grid_constant__ DecodeTable table) {
  DecodeBody<kFormat, kType, kIsFlat, Codec>(table, blockIdx.x, threadIdx.x);
}

template <DecodedType kType>
__global__ void __launch_bounds__(kThreadsPerBlock)
    SideKernel(const __grid_constant__ SideTable table) {
  SideBody<kType>(table, blockIdx.x, threadIdx.x);
}

template <DecodedType kType>
cudaError_t LaunchDecode(WeightFormat format, const DecodePlan& plan, cudaStream_t stream) {
  if (plan.table.blocks != 0) {
    VisitFormat(format, [&](auto constant) {
      constexpr WeightFormat kFormat = decltype(constant)::value;
      const auto kernel =
          plan.is_flat ? &DecodeKernel<kFormat, kType, true> : &DecodeKernel<kFormat, kType, false>;
      kernel<<<plan.table.blocks, kThreadsPerBlock, 0, stream>>>(plan.table);
    });
  }
  if (plan.side.blocks != 0) {
    SideKernel<kType><<<plan.side.blocks, kThreadsPerBlock, 0, stream>>>(plan.side);
  }
  return cudaGetLastError();
}

}  // namespace tightfit::cuda

#endif  // TIGHTFIT_KERNELS_CUDA_DECODE_KERNEL_H_
