// Runs the CUDA kernels on device 0.
#ifndef TIGHTFIT_TESTS_GPU_CUDA_DEVICE_RUNNER_H_
#define TIGHTFIT_TESTS_GPU_CUDA_DEVICE_RUNNER_H_

#include "tests/unit/kernels/cuda_runner.h"

#include <cuda_runtime_api.h>

#include <cstdint>
#include <string>
#include <vector>

namespace tightfit::cuda {

// Why no kernel can run here; empty where one can.
std::string WhyNoDevice();

// Device memory for bytes between two guards.
class DeviceBytes {
 public:
  explicit DeviceBytes(int64_t size, int64_t misalignment_bytes = 0);
  ~DeviceBytes();
  DeviceBytes(const DeviceBytes&) = delete;
  DeviceBytes& operator=(const DeviceBytes&) = delete;

  uint8_t* get() const { return bytes_ + kGuard + misalignment_; }
  void CopyFrom(const void* host);
  // Waits for the device; fails the test where a guard was overwritten.
  std::vector<uint8_t> Copy() const;

 private:
  static constexpr int64_t kGuard = 256;
  uint8_t* bytes_ = nullptr;
  int64_t size_;
  int64_t misalignment_;
};

class DeviceRunner : public CudaRunner {
 public:
  std::vector<std::vector<uint8_t>> Decode(std::span<const PackedTensor> tensors,
                                           DecodedType type) override;
  std::vector<uint8_t> Encode(const PackedLayout& layout, std::span<const uint16_t> fp16) override;
  std::vector<uint32_t> CountMagnitudes(std::span<const uint16_t> fp16) override;
};

}  // namespace tightfit::cuda

#endif  // TIGHTFIT_TESTS_GPU_CUDA_DEVICE_RUNNER_H_
