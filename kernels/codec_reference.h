// The slow, obvious reading of FORMATS.md: one code or one number at a time, by the definition and
// without bit tricks. Tests hold the fast codecs against it; nothing on a hot path calls it.
#ifndef TIGHTFIT_KERNELS_CODEC_REFERENCE_H_
#define TIGHTFIT_KERNELS_CODEC_REFERENCE_H_

#include "kernels/format.h"

#include <cstdint>
#include <optional>

namespace tightfit::reference {

// The fp16 pattern that `code` stands for. Requires 0 <= code < 2^bits.
uint16_t DecodeCode(WeightFormat format, uint32_t code);

// The code nearest to the fp16 pattern, ties to the even kept mantissa; nullopt for NaN, infinities
// and magnitudes above the format's largest value. Searches every code: microseconds a call.
std::optional<uint32_t> EncodePattern(WeightFormat format, uint16_t fp16);

// The real number behind an fp16 pattern, exactly. Requires a finite pattern.
double ValueOfFp16(uint16_t fp16);

// The bf16 pattern nearest to a finite fp16 pattern, ties to even.
uint16_t Bf16OfFp16(uint16_t fp16);

}  // namespace tightfit::reference

#endif  // TIGHTFIT_KERNELS_CODEC_REFERENCE_H_
