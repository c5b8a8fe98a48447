// The slow, obvious reading of FORMATS.md: one code or one number at a time, by the definition and
// without bit tricks. Tests hold the fast codecs against it; nothing on a hot path calls it.
#ifndef TIGHTFIT_KERNELS_CODEC_REFERENCE_H_
#define TIGHTFIT_KERNELS_CODEC_REFERENCE_H_

#include "kernels/codec.h"
#include "kernels/format.h"
#include "kernels/packed_layout.h"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace tightfit::reference {

// The fp16 pattern that `code` stands for where the format has no scale; raw(code) of floats and
// integers. Requires a format other than a normal float and 0 <= code < CodeCount.
uint16_t DecodeCode(WeightFormat format, uint32_t code);

// The code nearest to the fp16 pattern, ties to the even kept mantissa; nullopt for NaN, infinities
// and magnitudes that the format refuses. Requires a format without scale.
std::optional<uint32_t> EncodePattern(WeightFormat format, uint16_t fp16);

// The code of a float or integer format nearest to `y`, a number in units of raw: ties to the even
// mantissa (integers: the even integer); the sign of a float's zero is kept.
uint32_t NearestRawCode(WeightFormat format, float y);

// What PlanEncoding, EncodeTensor and DecodeToFp16 of codec.h do, for a whole tensor.
EncodingPlan PlanEncoding(WeightFormat format, int64_t rows, int64_t columns,
                          std::span<const uint16_t> fp16);
std::vector<uint8_t> EncodeTensor(const PackedLayout& layout, std::span<const uint16_t> fp16);
std::vector<uint16_t> DecodeTensor(const PackedLayout& layout, std::span<const uint8_t> packed);

// The real number behind an fp16 pattern, exactly; infinities and NaN are themselves.
double ValueOfFp16(uint16_t fp16);

// The fp16 pattern nearest to a number, ties to even; infinity from 65520 on. The sign of zero is
// kept, that of a NaN too, which is 0x7E00.
uint16_t Fp16OfValue(double value);

// The bf16 pattern nearest to a finite fp16 pattern, ties to even.
uint16_t Bf16OfFp16(uint16_t fp16);

}  // namespace tightfit::reference

#endif  // TIGHTFIT_KERNELS_CODEC_REFERENCE_H_
