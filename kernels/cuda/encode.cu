#include "kernels/codec_cuda.h"
#include "kernels/cuda/encode_passes.h"
#include "kernels/cuda/visit_format.h"

namespace tightfit::cuda {
namespace {

template <typename Pass>
__global__ void __launch_bounds__(kThreadsPerBlock)
    EncodeKernel(const __grid_constant__ EncodeTask task, uint64_t count) {
  const uint64_t index = static_cast<uint64_t>(blockIdx.x) * kThreadsPerBlock + threadIdx.x;
  if (index < count) Pass::Run(task, index);
}

__global__ void __launch_bounds__(kThreadsPerBlock)
    CountMagnitudesKernel(const uint16_t* fp16, uint64_t count, uint32_t* counts) {
  const uint64_t index = static_cast<uint64_t>(blockIdx.x) * kThreadsPerBlock + threadIdx.x;
  CountMagnitudesBody(fp16, count, counts, index);
}

uint32_t BlocksFor(uint64_t threads) {
  return static_cast<uint32_t>((threads + kThreadsPerBlock - 1) / kThreadsPerBlock);
}

bool IsAligned(const void* pointer, uintptr_t bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}

}  // namespace

int64_t EncodeWorkspaceBytes(const PackedLayout& layout) { return WorkspaceBytes(layout); }

cudaError_t EncodeTensor(const PackedLayout& layout, const uint16_t* fp16, uint8_t* packed,
                         void* workspace, cudaStream_t stream) {
  if (layout.total_bytes == 0) return cudaSuccess;
  const int64_t workspace_bytes = WorkspaceBytes(layout);
  if (!CanEncode(layout) || !IsAligned(fp16, 2) || !IsAligned(packed, 16) ||
      !IsAligned(workspace, 4) || (workspace_bytes != 0 && workspace == nullptr)) {
    return cudaErrorInvalidValue;
  }
  cudaError_t error = cudaMemsetAsync(packed, 0, layout.total_bytes, stream);
  if (error != cudaSuccess) return error;
  if (workspace_bytes != 0) {
    error = cudaMemsetAsync(workspace, 0, workspace_bytes, stream);
    if (error != cudaSuccess) return error;
  }
  const EncodeTask task = EncodeTaskOf(layout, fp16, packed, workspace);
  VisitFormat(layout.format, [&](auto format) {
    ForEachPass<decltype(format)::value>(task, [&](auto pass) {
      using Pass = typename decltype(pass)::type;
      const uint64_t count = Pass::Count(task);
      EncodeKernel<Pass><<<BlocksFor(count), kThreadsPerBlock, 0, stream>>>(task, count);
    });
  });
  return cudaGetLastError();
}

cudaError_t CountMagnitudes(const uint16_t* fp16, int64_t count, uint32_t* counts,
                            cudaStream_t stream) {
  if (count < 0 || count > kMaxTensorWeights || !IsAligned(fp16, 2) || !IsAligned(counts, 4)) {
    return cudaErrorInvalidValue;
  }
  const cudaError_t error = cudaMemsetAsync(counts, 0, kMagnitudes * sizeof(uint32_t), stream);
  if (error != cudaSuccess || count == 0) return error;
  const uint64_t groups = (static_cast<uint64_t>(count) + kGroupWeights - 1) / kGroupWeights;
  CountMagnitudesKernel<<<BlocksFor(groups), kThreadsPerBlock, 0, stream>>>(fp16, count, counts);
  return cudaGetLastError();
}

}  // namespace tightfit::cuda
