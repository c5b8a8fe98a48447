// StepsOfStrength: how much of the denoising is done over an image. One rule for who checks a
// request, who samples it and who tells of it.
#ifndef TIGHTFIT_SERVER_BASE_STRENGTH_H_
#define TIGHTFIT_SERVER_BASE_STRENGTH_H_

#include <algorithm>
#include <cstdint>

namespace tightfit {

// The steps that a strength of 0 to 1 leaves of `step_count`, rounded down in double, as diffusers
// counts them. A larger strength leaves all.
inline int32_t StepsOfStrength(double strength, int32_t step_count) {
  return static_cast<int32_t>(std::min(strength, 1.0) * step_count);
}

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_BASE_STRENGTH_H_
