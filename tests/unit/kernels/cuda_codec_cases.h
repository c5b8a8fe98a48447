// What the CUDA codecs have to do, wherever they run: the same bytes as the reference.
#ifndef TIGHTFIT_TESTS_UNIT_KERNELS_CUDA_CODEC_CASES_H_
#define TIGHTFIT_TESTS_UNIT_KERNELS_CUDA_CODEC_CASES_H_

#include "kernels/format.h"
#include "tests/unit/kernels/cuda_runner.h"

#include <cstdint>
#include <span>
#include <vector>

namespace tightfit::cuda {

// Shapes with 0..67, 131 and 1280 columns and 1..5 rows, random codes and bytes of padding, fp16,
// bf16 and fp32, aligned outputs and others.
void ExpectDecodesEveryShape(CudaRunner& runner, WeightFormat format);
// Sixteen tensors in one launch; some flat, some not, some empty, some with a side list.
void ExpectDecodesSeveralTensors(CudaRunner& runner, WeightFormat format);
// Every code, at several scales.
void ExpectDecodesEveryCode(CudaRunner& runner, WeightFormat format);
// Random bytes, those of scales and side lists included: nothing is written outside.
void ExpectSurvivesGarbage(CudaRunner& runner, WeightFormat format);

// The same shapes, weights like those of models, with zeros and outliers.
void ExpectEncodesEveryShape(CudaRunner& runner, WeightFormat format);
// Every fp16 pattern that the format takes; of tensor-scaled floats at every bias.
void ExpectEncodesEveryPattern(CudaRunner& runner, WeightFormat format);
void ExpectCountsMagnitudes(CudaRunner& runner);

}  // namespace tightfit::cuda

#endif  // TIGHTFIT_TESTS_UNIT_KERNELS_CUDA_CODEC_CASES_H_
