#include "kernels/codec.h"
#include "kernels/packed_header.h"
#include "server/model/sha256.h"
#include "tests/unit/client/cli/run_command.h"
#include "tests/unit/client/weights/sample_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tightfit::weights::testing {
namespace {

using cli::testing::ReadFile;
using cli::testing::RunResult;
using cli::testing::RunTightfit;
using cli::testing::TemporaryFolder;
using ::testing::HasSubstr;

constexpr int64_t kRows = 6;
constexpr int64_t kColumns = 200;  // no whole number of groups

// What the codec makes of the same weights, without files and threads.
struct Expected {
  std::string packed;
  std::string fp16;
  std::string bf16;
  std::string fp32;
};

Expected ByCodec(WeightFormat format, const std::vector<uint16_t>& weights) {
  const EncodingPlan plan = PlanEncoding(format, kRows, kColumns, weights.data());
  EXPECT_TRUE(plan.representability.ok());
  std::vector<uint8_t> packed(static_cast<size_t>(plan.layout.total_bytes));
  EncodeTensor(plan.layout, weights.data(), packed.data());
  const DecodeRange all{0, kRows, 0, kColumns};
  std::vector<uint16_t> fp16(weights.size());
  std::vector<uint16_t> bf16(weights.size());
  std::vector<float> fp32(weights.size());
  DecodeToFp16(plan.layout, packed.data(), all, fp16.data());
  DecodeToBf16(plan.layout, packed.data(), all, bf16.data());
  DecodeToFp32(plan.layout, packed.data(), all, fp32.data());
  return {BytesOf(packed), BytesOf(fp16), BytesOf(bf16), BytesOf(fp32)};
}

std::string Hex(std::string_view bytes) {
  std::string hex;
  for (const char byte : bytes) {
    for (const int shift : {4, 0}) {
      hex += "0123456789abcdef"[static_cast<unsigned char>(byte) >> shift & 15];
    }
  }
  return hex;
}

TEST(RoundTripTest, FilesOfEveryFormatHoldWhatTheCodecMakes) {
  const TemporaryFolder folder;
  const std::vector<uint16_t> weights = SampleWeights(kRows * kColumns);
  WriteFile(folder.path() / "in", BytesOf(weights));
  for (const FormatInfo& info : kFormats) {
    SCOPED_TRACE(info.name);
    const Expected expected = ByCodec(info.format, weights);
    const auto run = [&folder](std::vector<std::string> arguments) {
      return RunTightfit({.arguments = std::move(arguments), .directory = folder.path()});
    };
    const RunResult encoded =
        run({"encode", "--format", std::string(info.name), "--shape", "6x200", "in", "packed"});
    ASSERT_EQ(encoded.exit_code, 0) << encoded.err;
    EXPECT_EQ(encoded.out, "");
    EXPECT_THAT(encoded.err, HasSubstr("packed: " + std::string(info.name) + " 6x200"));

    const std::string file = ReadFile(folder.path() / "packed");
    ASSERT_EQ(file.size(), 128 + expected.packed.size());
    EXPECT_TRUE(file.substr(128) == expected.packed);
    EXPECT_EQ(Hex(file.substr(64, 32)), Sha256::HexDigestOf(expected.packed));

    ASSERT_EQ(run({"decode", "packed", "fp16"}).exit_code, 0);
    ASSERT_EQ(run({"decode", "packed", "bf16", "--to", "bf16"}).exit_code, 0);
    ASSERT_EQ(run({"decode", "packed", "fp32", "--to", "fp32"}).exit_code, 0);
    EXPECT_TRUE(ReadFile(folder.path() / "fp16") == expected.fp16);
    EXPECT_TRUE(ReadFile(folder.path() / "bf16") == expected.bf16);
    EXPECT_TRUE(ReadFile(folder.path() / "fp32") == expected.fp32);
  }
}

TEST(RoundTripTest, TheFileIsTheSameWithAnyNumberOfThreads) {
  const TemporaryFolder folder;
  WriteFile(folder.path() / "in", BytesOf(SampleWeights(64 * 1024)));
  for (const char* format : {"e2m5", "e3m4r", "nf4.58"}) {
    for (const char* threads : {"1", "2", "7"}) {
      const RunResult run =
          RunTightfit({.arguments = {"encode", "--format", format, "--shape", "64x1024",
                                     "--threads", threads, "in", std::string("out") + threads},
                       .directory = folder.path()});
      ASSERT_EQ(run.exit_code, 0) << run.err;
    }
    const std::string one = ReadFile(folder.path() / "out1");
    EXPECT_TRUE(one == ReadFile(folder.path() / "out2")) << format;
    EXPECT_TRUE(one == ReadFile(folder.path() / "out7")) << format;
  }
}

TEST(RoundTripTest, TheHeaderKeepsAShapeOfFourDimensions) {
  const TemporaryFolder folder;
  WriteFile(folder.path() / "in", BytesOf(SampleWeights(4 * 3 * 3 * 5)));
  ASSERT_EQ(RunTightfit(
                {.arguments = {"encode", "--format", "hf12", "--shape", "4x3x3x5", "in", "packed"},
                 .directory = folder.path()})
                .exit_code,
            0);
  const std::string file = ReadFile(folder.path() / "packed");
  PackedHeader header;
  ASSERT_EQ(ParsePackedHeader({reinterpret_cast<const uint8_t*>(file.data()), file.size()},
                              static_cast<int64_t>(file.size()), &header),
            PackedHeaderError::kNone);
  EXPECT_EQ(header.rank, 4);
  EXPECT_EQ(header.shape, (std::array<int64_t, 4>{4, 3, 3, 5}));
  const RunResult decoded =
      RunTightfit({.arguments = {"decode", "packed", "out"}, .directory = folder.path()});
  EXPECT_EQ(decoded.exit_code, 0);
  EXPECT_EQ(decoded.err, "out: fp16 from hf12, 4x3x3x5\n");
}

TEST(RoundTripTest, QuietSaysNothing) {
  const TemporaryFolder folder;
  WriteFile(folder.path() / "in", BytesOf(SampleWeights(16)));
  const RunResult encoded = RunTightfit(
      {.arguments = {"encode", "--format", "hf8", "--shape", "1x16", "in", "packed", "--quiet"},
       .directory = folder.path()});
  const RunResult decoded =
      RunTightfit({.arguments = {"decode", "packed", "out", "-q"}, .directory = folder.path()});
  EXPECT_EQ(encoded.exit_code + decoded.exit_code, 0);
  EXPECT_EQ(encoded.out + encoded.err + decoded.out + decoded.err, "");
  EXPECT_EQ(folder.Names(), (std::vector<std::string>{"in", "out", "packed"}));
}

}  // namespace
}  // namespace tightfit::weights::testing
