// The CUDA bodies, run on this machine's processor.
#include "kernels/cuda/decode_table.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/normal_float_decode.h"
#include "tests/unit/kernels/cuda_codec_cases.h"
#include "tests/unit/kernels/cuda_host_runner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace tightfit::cuda {
namespace {

class CudaCodecTest : public testing::TestWithParam<WeightFormat> {
 protected:
  HostRunner runner_;
};

TEST_P(CudaCodecTest, DecodesEveryShape) { ExpectDecodesEveryShape(runner_, GetParam()); }

TEST_P(CudaCodecTest, DecodesSeveralTensorsAtOnce) {
  ExpectDecodesSeveralTensors(runner_, GetParam());
}

TEST_P(CudaCodecTest, DecodesEveryCode) { ExpectDecodesEveryCode(runner_, GetParam()); }

TEST_P(CudaCodecTest, WritesNothingOutsideWhateverTheBytesAre) {
  ExpectSurvivesGarbage(runner_, GetParam());
}

TEST_P(CudaCodecTest, EncodesEveryShape) { ExpectEncodesEveryShape(runner_, GetParam()); }

TEST_P(CudaCodecTest, EncodesEveryPattern) { ExpectEncodesEveryPattern(runner_, GetParam()); }

std::vector<WeightFormat> EveryFormat() {
  std::vector<WeightFormat> formats;
  for (const FormatInfo& info : kFormats) formats.push_back(info.format);
  return formats;
}

std::string TestName(const testing::TestParamInfo<WeightFormat>& info) {
  std::string name(InfoOf(info.param).name);
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == '.' || c == '-'; }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Formats, CudaCodecTest, testing::ValuesIn(EveryFormat()), TestName);

TEST(CudaCountTest, CountsMagnitudes) {
  HostRunner runner;
  ExpectCountsMagnitudes(runner);
}

TEST(CudaDeviceTest, DividesBy255AsIeee754Does) {
  for (uint32_t fp16 = 0; fp16 < 0x7C00; ++fp16) {
    const float a = ValueOfF16(fp16);
    ASSERT_EQ(BitsOf(DivideBy255(a)), BitsOf(a / 255.0f)) << std::hex << fp16;
  }
}

TEST(CudaDeviceTest, DividesByTheGroupsOfARow) {
  for (const uint32_t divisor : {1u, 2u, 3u, 5u, 7u, 80u, 255u, 256u, 257u, 65537u, 0x7FFFFFFFu}) {
    for (const uint32_t quotient : {0u, 1u, 2u, 1000u, 0x7FFFFFFFu / divisor}) {
      for (const uint32_t rest : {0u, divisor / 2, divisor - 1}) {
        const uint64_t n = static_cast<uint64_t>(quotient) * divisor + rest;
        if (n > kMaxGroups) continue;
        ASSERT_EQ(Quotient(static_cast<uint32_t>(n), DivisorOf(divisor)), n / divisor)
            << n << " / " << divisor;
      }
    }
  }
}

TEST(CudaDecodePlanTest, RefusesWhatOneLaunchCannotDecode) {
  const DecodeJob job{.layout = LayoutOf(WeightFormat::kHf8, 4, 64),
                      .packed = reinterpret_cast<const uint8_t*>(uintptr_t{4096}),
                      .out = reinterpret_cast<void*>(uintptr_t{8192})};
  DecodePlan plan;
  EXPECT_TRUE(PlanDecode({}, DecodedType::kFp16, &plan));
  EXPECT_TRUE(PlanDecode({&job, 1}, DecodedType::kFp16, &plan));
  EXPECT_TRUE(plan.is_flat);
  EXPECT_EQ(plan.table.blocks, 1u);

  const std::vector<DecodeJob> too_many(kMaxDecodeTensors + 1, job);
  EXPECT_FALSE(PlanDecode(too_many, DecodedType::kFp16, &plan));
  std::vector<DecodeJob> jobs(2, job);
  jobs[1].layout = LayoutOf(WeightFormat::kHf8x, 4, 64);
  EXPECT_FALSE(PlanDecode(jobs, DecodedType::kFp16, &plan));
  jobs[1] = job;
  jobs[1].packed += 8;
  EXPECT_FALSE(PlanDecode(jobs, DecodedType::kFp16, &plan));
  jobs[1] = job;
  jobs[1].out = reinterpret_cast<void*>(uintptr_t{8193});
  EXPECT_FALSE(PlanDecode(jobs, DecodedType::kFp16, &plan));
  jobs[1].out = reinterpret_cast<void*>(uintptr_t{8194});
  EXPECT_TRUE(PlanDecode(jobs, DecodedType::kFp16, &plan));
  EXPECT_FALSE(plan.is_flat);
  EXPECT_FALSE(PlanDecode(jobs, DecodedType::kFp32, &plan));
  jobs[1] = job;
  jobs[1].layout = LayoutOf(WeightFormat::kHf8, int64_t{1} << 31, 1);
  EXPECT_FALSE(PlanDecode(jobs, DecodedType::kFp16, &plan));
}

}  // namespace
}  // namespace tightfit::cuda
