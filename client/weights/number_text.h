// Shapes, decibels and ranges as people read them.
#ifndef TIGHTFIT_CLIENT_WEIGHTS_NUMBER_TEXT_H_
#define TIGHTFIT_CLIENT_WEIGHTS_NUMBER_TEXT_H_

#include "kernels/distortion.h"
#include "kernels/format.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace tightfit::weights {

// "1280x1280".
std::string ShapeText(std::span<const int64_t> shape);

// "38.9 dB"; "exact" without noise, "no signal" where only zeros became noise.
std::string SqnrText(const Distortion& distortion);

// The largest magnitude: "0.75", "65504".
std::string LargestText(const FormatInfo& info);

// What a scale belongs to: "none", "2^n a tensor", "fp16 a row", ...
std::string_view ScalingText(Scaling scaling);

}  // namespace tightfit::weights

#endif  // TIGHTFIT_CLIENT_WEIGHTS_NUMBER_TEXT_H_
