// In which number formats this processor multiplies matrices. The same on every call.
#ifndef TIGHTFIT_SERVER_DEVICE_CPU_PRODUCTS_H_
#define TIGHTFIT_SERVER_DEVICE_CPU_PRODUCTS_H_

#include <c10/core/ScalarType.h>

namespace tightfit {

// Whether the processor has instructions for products in bf16, which are faster than in fp32.
bool CpuHasBf16();

// Whether oneDNN has kernels for products in `dtype` on this processor. Where it has none,
// LibTorch (2.11) multiplies number by number: on AVX2 a Linear in bf16 takes 7 times what it
// takes in fp32, a convolution 30 times.
bool CpuMultipliesIn(c10::ScalarType dtype);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_DEVICE_CPU_PRODUCTS_H_
