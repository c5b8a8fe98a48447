// Runs the CUDA bodies over the whole grid on this machine's processor.
#ifndef TIGHTFIT_TESTS_UNIT_KERNELS_CUDA_HOST_RUNNER_H_
#define TIGHTFIT_TESTS_UNIT_KERNELS_CUDA_HOST_RUNNER_H_

#include "tests/unit/kernels/cuda_runner.h"

namespace tightfit::cuda {

class HostRunner : public CudaRunner {
 public:
  std::vector<std::vector<uint8_t>> Decode(std::span<const PackedTensor> tensors,
                                           DecodedType type) override;
  std::vector<uint8_t> Encode(const PackedLayout& layout, std::span<const uint16_t> fp16) override;
  std::vector<uint32_t> CountMagnitudes(std::span<const uint16_t> fp16) override;
};

}  // namespace tightfit::cuda

#endif  // TIGHTFIT_TESTS_UNIT_KERNELS_CUDA_HOST_RUNNER_H_
