// Where the CUDA bodies run: on a host, thread after thread, or on a device. The cases in
// cuda_codec_cases.h are the same for both.
#ifndef TIGHTFIT_TESTS_UNIT_KERNELS_CUDA_RUNNER_H_
#define TIGHTFIT_TESTS_UNIT_KERNELS_CUDA_RUNNER_H_

#include "kernels/cuda/decode_table.h"
#include "kernels/packed_layout.h"

#include <cstdint>
#include <span>
#include <vector>

namespace tightfit::cuda {

struct PackedTensor {
  PackedLayout layout;
  std::vector<uint8_t> packed;
  int64_t misalignment = 0;  // of the output: elements behind a border of 64 bytes
};

class CudaRunner {
 public:
  virtual ~CudaRunner() = default;
  // The outputs of one launch. A byte written outside an output is a failure of the test.
  virtual std::vector<std::vector<uint8_t>> Decode(std::span<const PackedTensor> tensors,
                                                   DecodedType type) = 0;
  // The memory of the packed tensor is not zero before.
  virtual std::vector<uint8_t> Encode(const PackedLayout& layout,
                                      std::span<const uint16_t> fp16) = 0;
  virtual std::vector<uint32_t> CountMagnitudes(std::span<const uint16_t> fp16) = 0;
};

}  // namespace tightfit::cuda

#endif  // TIGHTFIT_TESTS_UNIT_KERNELS_CUDA_RUNNER_H_
