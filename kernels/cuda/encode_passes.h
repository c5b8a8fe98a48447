// The passes of each format, in order; and the counts that a tensor's exponent bias is chosen by.
#ifndef TIGHTFIT_KERNELS_CUDA_ENCODE_PASSES_H_
#define TIGHTFIT_KERNELS_CUDA_ENCODE_PASSES_H_

#include "kernels/cuda/encode_codes.h"
#include "kernels/cuda/encode_scales.h"
#include "kernels/cuda/encode_task.h"

#include <cstdint>

namespace tightfit::cuda {

inline constexpr int kMagnitudes = 32768;

template <typename Pass>
struct PassTag {
  using type = Pass;
};

// Calls run(PassTag<Pass>{}) for each. The packed tensor and the workspace are zeros before.
template <WeightFormat kFormat, typename Runner>
void ForEachPass(const EncodeTask& task, const Runner& run) {
  constexpr FormatInfo kInfo = InfoOf(kFormat);
  constexpr bool kIsFloat = kInfo.family == FormatFamily::kFloat;
  if constexpr (kInfo.scaling == Scaling::kRow || kInfo.scaling == Scaling::kBlock64) {
    run(PassTag<MaximaPass<kFormat>>{});
  }
  if constexpr (kInfo.scaling == Scaling::kBlock64) {
    run(PassTag<NormalBlockPass>{});
  } else if constexpr (kInfo.scaling == Scaling::kRow && kIsFloat) {
    run(PassTag<RowErrorPass<kFormat>>{});
    run(PassTag<RowChoicePass>{});
  } else if constexpr (kInfo.scaling == Scaling::kRow) {
    run(PassTag<IntegerRowPass>{});
  } else if constexpr (kInfo.scaling == Scaling::kBlock32) {
    run(PassTag<IntegerBlockPass>{});
  }
  if constexpr (kInfo.low_plane_bits == 0) {
    run(PassTag<RadixPass<kFormat>>{});
  } else {
    run(PassTag<PlanePass<kFormat>>{});
  }
  if constexpr (kInfo.scaling == Scaling::kTensor) {
    if (task.side_count != 0) {
      run(PassTag<SideCountPass>{});
      run(PassTag<SideOffsetPass>{});
      run(PassTag<SideWritePass>{});
    }
  }
}

// How often each magnitude occurs, as an fp16 pattern without its sign; a thread for sixteen
// weights.
TIGHTFIT_HOST_DEVICE void CountMagnitudesBody(const uint16_t* fp16, uint64_t count,
                                              uint32_t* counts, uint64_t index) {
  TIGHTFIT_UNROLL
  for (uint64_t i = 0; i < kGroupWeights; ++i) {
    const uint64_t weight = index * kGroupWeights + i;
    if (weight < count) AtomicAdd(counts + (fp16[weight] & 0x7FFFu), 1);
  }
}

}  // namespace tightfit::cuda

#endif  // TIGHTFIT_KERNELS_CUDA_ENCODE_PASSES_H_
