// The CUDA kernels on a device: the cases that tests/unit/kernels runs on a host. Without a device
// they are skipped.
#include "kernels/codec_cuda.h"
#include "kernels/codec_reference.h"
#include "tests/gpu/cuda_device_runner.h"
#include "tests/unit/kernels/cuda_codec_cases.h"

#include <gtest/gtest.h>

#include <cstring>

namespace tightfit::cuda {
namespace {

class KernelsGpuTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = WhyNoDevice(); !reason.empty()) GTEST_SKIP() << reason;
  }

  void ForEachFormat(void (*expect)(CudaRunner&, WeightFormat)) {
    for (const FormatInfo& info : kFormats) {
      SCOPED_TRACE(info.name);
      expect(runner_, info.format);
      if (HasFailure()) return;
    }
  }

  DeviceRunner runner_;
};

TEST_F(KernelsGpuTest, DecodesEveryShape) { ForEachFormat(ExpectDecodesEveryShape); }
TEST_F(KernelsGpuTest, DecodesSeveralTensorsAtOnce) { ForEachFormat(ExpectDecodesSeveralTensors); }
TEST_F(KernelsGpuTest, DecodesEveryCode) { ForEachFormat(ExpectDecodesEveryCode); }
TEST_F(KernelsGpuTest, WritesNothingOutsideWhateverTheBytesAre) {
  ForEachFormat(ExpectSurvivesGarbage);
}
TEST_F(KernelsGpuTest, EncodesEveryShape) { ForEachFormat(ExpectEncodesEveryShape); }
TEST_F(KernelsGpuTest, EncodesEveryPattern) { ForEachFormat(ExpectEncodesEveryPattern); }
TEST_F(KernelsGpuTest, CountsMagnitudes) { ExpectCountsMagnitudes(runner_); }

// Neither allocates nor waits: both would break the capture.
TEST_F(KernelsGpuTest, CanBeCapturedIntoAGraph) {
  for (const FormatInfo& info : kFormats) {
    SCOPED_TRACE(info.name);
    const PackedLayout layout = LayoutOf(info.format, 3, 192);
    std::vector<uint16_t> fp16(3 * 192);
    for (size_t i = 0; i < fp16.size(); ++i) fp16[i] = static_cast<uint16_t>(0x2000 + i);
    DeviceBytes weights(static_cast<int64_t>(fp16.size() * 2));
    weights.CopyFrom(fp16.data());
    DeviceBytes packed(layout.total_bytes);
    DeviceBytes workspace(EncodeWorkspaceBytes(layout));
    DeviceBytes out(static_cast<int64_t>(fp16.size() * 2));
    const DecodeJob job{layout, packed.get(), out.get()};

    cudaStream_t stream = nullptr;
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    ASSERT_EQ(cudaStreamCreate(&stream), cudaSuccess);
    ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    EXPECT_EQ(EncodeTensor(layout, reinterpret_cast<const uint16_t*>(weights.get()), packed.get(),
                           workspace.get(), stream),
              cudaSuccess);
    EXPECT_EQ(DecodeTensors({&job, 1}, DecodedType::kFp16, stream), cudaSuccess);
    ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    ASSERT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
    EXPECT_EQ(cudaGraphLaunch(executable, stream), cudaSuccess);

    const std::vector<uint8_t> expected = reference::EncodeTensor(layout, fp16);
    EXPECT_EQ(packed.Copy(), expected);
    const std::vector<uint16_t> decoded = reference::DecodeTensor(layout, expected);
    EXPECT_EQ(std::memcmp(out.Copy().data(), decoded.data(), decoded.size() * 2), 0);
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
    cudaStreamDestroy(stream);
  }
}

}  // namespace
}  // namespace tightfit::cuda
