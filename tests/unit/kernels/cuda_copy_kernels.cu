// For check_sass.py: the decode kernels with a codec that only moves what was loaded. The
// difference in instructions is what decoding costs.
#include "kernels/cuda/decode_kernel.h"

namespace tightfit::cuda {

template <WeightFormat kFormat>
struct CopyDecoder {
  TIGHTFIT_HOST_DEVICE static void Decode(const Group& group, const LevelLookup&, uint32_t* out) {
    constexpr FormatInfo kInfo = InfoOf(kFormat);
    constexpr int kLowWords = kInfo.low_plane_bits == 0 ? 4 : kInfo.low_plane_bits / 2;
    TIGHTFIT_UNROLL
    for (int i = 0; i < 8; ++i) out[i] = group.low[i % kLowWords];
    if constexpr (kInfo.high_plane_bits != 0) out[7] = group.high[0];
    if constexpr (kInfo.high_plane_bits == 4) out[6] = group.high[1];
    if constexpr (kInfo.scaling != Scaling::kNone) out[5] = group.scale;
    if constexpr (kInfo.scaling == Scaling::kBlock64) out[4] = group.block_scale;
  }
};

#define TIGHTFIT_COPY(format)                                                                      \
  template __global__ void                                                                         \
  DecodeKernel<WeightFormat::format, DecodedType::kFp16, true, CopyDecoder<WeightFormat::format>>( \
      const __grid_constant__ DecodeTable)

TIGHTFIT_COPY(kHf8);
TIGHTFIT_COPY(kHf8x);
TIGHTFIT_COPY(kHf10);
TIGHTFIT_COPY(kHf12);
TIGHTFIT_COPY(kE2m3);
TIGHTFIT_COPY(kE2m5);
TIGHTFIT_COPY(kE3m4);
TIGHTFIT_COPY(kE4m3);
TIGHTFIT_COPY(kE3m6);
TIGHTFIT_COPY(kE3m8);
TIGHTFIT_COPY(kE2m3r);
TIGHTFIT_COPY(kE2m5r);
TIGHTFIT_COPY(kE3m4r);
TIGHTFIT_COPY(kE4m3r);
TIGHTFIT_COPY(kE3m6r);
TIGHTFIT_COPY(kE3m8r);
TIGHTFIT_COPY(kQ8);
TIGHTFIT_COPY(kQ8b32);
TIGHTFIT_COPY(kNf5);
TIGHTFIT_COPY(kNf458);
TIGHTFIT_COPY(kNf4);
TIGHTFIT_COPY(kNf358);
TIGHTFIT_COPY(kNf281);
TIGHTFIT_COPY(kBf16);
TIGHTFIT_COPY(kFp8E4m3);

}  // namespace tightfit::cuda
