#include "tests/gpu/cuda_device_runner.h"

#include "kernels/codec_cuda.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>

namespace tightfit::cuda {
namespace {

void ExpectSuccess(cudaError_t error) {
  EXPECT_EQ(error, cudaSuccess) << cudaGetErrorString(error);
}

bool IsGuard(uint8_t byte) { return byte == 0xA5; }

}  // namespace

std::string WhyNoDevice() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) return std::string("no CUDA device: ") + cudaGetErrorString(error);
  return count == 0 ? "no CUDA device" : "";
}

DeviceBytes::DeviceBytes(int64_t size, int64_t misalignment_bytes)
    : size_(size), misalignment_(misalignment_bytes) {
  const int64_t total = size_ + misalignment_ + 2 * kGuard;
  ExpectSuccess(cudaMalloc(reinterpret_cast<void**>(&bytes_), total));
  ExpectSuccess(cudaMemset(bytes_, 0xA5, total));
}

DeviceBytes::~DeviceBytes() { cudaFree(bytes_); }

void DeviceBytes::CopyFrom(const void* host) {
  if (size_ != 0) ExpectSuccess(cudaMemcpy(get(), host, size_, cudaMemcpyHostToDevice));
}

std::vector<uint8_t> DeviceBytes::Copy() const {
  std::vector<uint8_t> all(size_ + misalignment_ + 2 * kGuard);
  ExpectSuccess(cudaDeviceSynchronize());
  ExpectSuccess(cudaMemcpy(all.data(), bytes_, all.size(), cudaMemcpyDeviceToHost));
  const auto begin = all.begin() + kGuard + misalignment_;
  EXPECT_TRUE(std::all_of(all.begin(), begin, IsGuard));
  EXPECT_TRUE(std::all_of(begin + size_, all.end(), IsGuard));
  return {begin, begin + size_};
}

std::vector<std::vector<uint8_t>> DeviceRunner::Decode(std::span<const PackedTensor> tensors,
                                                       DecodedType type) {
  std::vector<std::unique_ptr<DeviceBytes>> packed;
  std::vector<std::unique_ptr<DeviceBytes>> outs;
  std::vector<DecodeJob> jobs;
  for (const PackedTensor& tensor : tensors) {
    packed.push_back(std::make_unique<DeviceBytes>(tensor.layout.total_bytes));
    packed.back()->CopyFrom(tensor.packed.data());
    outs.push_back(
        std::make_unique<DeviceBytes>(tensor.layout.rows * tensor.layout.columns * BytesOf(type),
                                      tensor.misalignment * BytesOf(type)));
    jobs.push_back({tensor.layout, packed.back()->get(), outs.back()->get()});
  }
  ExpectSuccess(DecodeTensors(jobs, type, nullptr));
  std::vector<std::vector<uint8_t>> results;
  for (const auto& out : outs) results.push_back(out->Copy());
  return results;
}

std::vector<uint8_t> DeviceRunner::Encode(const PackedLayout& layout,
                                          std::span<const uint16_t> fp16) {
  DeviceBytes weights(static_cast<int64_t>(fp16.size_bytes()));
  weights.CopyFrom(fp16.data());
  DeviceBytes packed(layout.total_bytes);
  DeviceBytes workspace(EncodeWorkspaceBytes(layout));
  ExpectSuccess(EncodeTensor(layout, reinterpret_cast<const uint16_t*>(weights.get()), packed.get(),
                             workspace.get(), nullptr));
  workspace.Copy();
  return packed.Copy();
}

std::vector<uint32_t> DeviceRunner::CountMagnitudes(std::span<const uint16_t> fp16) {
  DeviceBytes weights(static_cast<int64_t>(fp16.size_bytes()));
  weights.CopyFrom(fp16.data());
  std::vector<uint32_t> counts(32768);
  DeviceBytes on_device(static_cast<int64_t>(counts.size() * sizeof(uint32_t)));
  ExpectSuccess(cuda::CountMagnitudes(reinterpret_cast<const uint16_t*>(weights.get()),
                                      static_cast<int64_t>(fp16.size()),
                                      reinterpret_cast<uint32_t*>(on_device.get()), nullptr));
  const std::vector<uint8_t> bytes = on_device.Copy();
  std::memcpy(counts.data(), bytes.data(), bytes.size());
  return counts;
}

}  // namespace tightfit::cuda
