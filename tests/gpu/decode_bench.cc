// How fast each format decodes on device 0, beside a copy that moves as many bytes. Run by hand.
//
//   decode_bench [launches]
#include "kernels/codec_cuda.h"
#include "kernels/format.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

namespace tightfit::cuda {
namespace {

// Eight of SDXL's largest linear layers: more than any L2 cache holds.
constexpr int64_t kTensors = 8;
constexpr int64_t kRows = 10240;
constexpr int64_t kColumns = 1280;

void Require(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "decode_bench: %s\n", cudaGetErrorString(error));
  std::exit(1);
}

// Seconds of one launch, on average.
double SecondsOf(int launches, const std::function<void()>& launch) {
  cudaEvent_t begin;
  cudaEvent_t end;
  Require(cudaEventCreate(&begin));
  Require(cudaEventCreate(&end));
  for (int i = 0; i < 3; ++i) launch();
  Require(cudaEventRecord(begin));
  for (int i = 0; i < launches; ++i) launch();
  Require(cudaEventRecord(end));
  Require(cudaEventSynchronize(end));
  float milliseconds = 0;
  Require(cudaEventElapsedTime(&milliseconds, begin, end));
  Require(cudaEventDestroy(begin));
  Require(cudaEventDestroy(end));
  return milliseconds / 1000.0 / launches;
}

void Measure(const FormatInfo& info, DecodedType type, int launches, uint8_t* packed,
             uint8_t* out) {
  const PackedLayout layout = LayoutOf(info.format, kRows, kColumns);
  const int64_t out_bytes = kRows * kColumns * BytesOf(type);
  std::vector<DecodeJob> jobs;
  for (int64_t i = 0; i < kTensors; ++i) {
    jobs.push_back({layout, packed + i * layout.total_bytes, out + i * out_bytes});
  }
  const double decode = SecondsOf(launches, [&] { Require(DecodeTensors(jobs, type, nullptr)); });
  // A copy reads and writes half of these bytes each.
  const int64_t bytes = kTensors * (layout.total_bytes + out_bytes);
  const double copy = SecondsOf(launches, [&] {
    Require(cudaMemcpyAsync(out, out + bytes / 2, bytes / 2, cudaMemcpyDeviceToDevice, nullptr));
  });
  std::printf("%-9s %s %8.0f GB/s   copy %6.0f GB/s   %3.0f %%   %6.1f Gw/s\n", info.name.data(),
              type == DecodedType::kFp16 ? "fp16" : "bf16", bytes / decode / 1e9,
              bytes / copy / 1e9, 100.0 * copy / decode,
              kTensors * kRows * kColumns / decode / 1e9);
}

int Run(int launches) {
  cudaDeviceProp device;
  Require(cudaGetDeviceProperties(&device, 0));
  std::printf("%s, %lld tensors of %lld x %lld in one launch\n", device.name,
              static_cast<long long>(kTensors), static_cast<long long>(kRows),
              static_cast<long long>(kColumns));
  // Both sides of the largest copy fit into `out`: four bytes a weight.
  const int64_t bytes = kTensors * kRows * kColumns * 4;
  uint8_t* packed = nullptr;
  uint8_t* out = nullptr;
  Require(cudaMalloc(reinterpret_cast<void**>(&packed), bytes));
  Require(cudaMalloc(reinterpret_cast<void**>(&out), bytes));
  Require(cudaMemset(packed, 0x35, bytes));
  Require(cudaMemset(out, 0, bytes));
  for (const FormatInfo& info : kFormats) {
    for (const DecodedType type : {DecodedType::kFp16, DecodedType::kBf16}) {
      Measure(info, type, launches, packed, out);
    }
  }
  Require(cudaFree(packed));
  Require(cudaFree(out));
  return 0;
}

}  // namespace
}  // namespace tightfit::cuda

int main(int argc, char** argv) {
  return tightfit::cuda::Run(argc > 1 ? std::max(1, std::atoi(argv[1])) : 20);
}
