// How far two images, or two sets of latents, are apart.
#ifndef TIGHTFIT_CLIENT_FIDELITY_IMAGE_METRICS_H_
#define TIGHTFIT_CLIENT_FIDELITY_IMAGE_METRICS_H_

#include "server/image/png.h"

#include <cstdint>
#include <span>

namespace tightfit::fidelity {

// Peak signal to noise of 8-bit samples, 10 log10(255^2 / mean squared error). +infinity where all
// are equal. The spans have the same length, not 0.
double ImagePsnrDb(std::span<const uint8_t> reference, std::span<const uint8_t> measured);

// The same for latents, whose peak is the reference's largest magnitude: the measure that Apple's
// ml-stable-diffusion published its compressed models with.
double LatentPsnrDb(std::span<const float> reference, std::span<const float> measured);

// Signal to noise, 10 log10(sum of reference^2 / sum of error^2). +infinity without an error.
double SignalToNoiseDb(std::span<const float> reference, std::span<const float> measured);

// Cosine of the angle between two sets of latents: 1 for the same direction, 0 where one of them is
// all zeros and the other is not.
double Cosine(std::span<const float> reference, std::span<const float> measured);

// Structural similarity (Wang et al. 2004) of the luma: a Gaussian window of 11 x 11 with a
// deviation of 1.5, K1 = 0.01, K2 = 0.03, mean over all windows that lie within the image. 1 for
// equal images. Both have the same size, at least 11 x 11.
double Ssim(const RgbImage& reference, const RgbImage& measured);

}  // namespace tightfit::fidelity

#endif  // TIGHTFIT_CLIENT_FIDELITY_IMAGE_METRICS_H_
