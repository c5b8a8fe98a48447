#include "kernels/format.h"
#include "tests/unit/client/cli/run_command.h"
#include "tests/unit/client/weights/sample_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace tightfit::weights::testing {
namespace {

using cli::testing::RunResult;
using cli::testing::RunTightfit;
using cli::testing::TemporaryFolder;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr uint16_t kNan = 0x7E00;
constexpr uint16_t kMinusInfinity = 0xFC00;
constexpr uint16_t kOne = 0x3C00;

// Encodes `weights` as one row.
RunResult EncodeRow(const TemporaryFolder& folder, const std::vector<uint16_t>& weights,
                    const std::string& format) {
  WriteFile(folder.path() / "in", BytesOf(weights));
  return RunTightfit({.arguments = {"encode", "--format", format, "--shape",
                                    "1x" + std::to_string(weights.size()), "in", "out"},
                      .directory = folder.path()});
}

TEST(EncodeRefusalTest, CountsWhatTheFormatCannotHoldAndSaysWhatToDo) {
  const TemporaryFolder folder;
  const RunResult nan = EncodeRow(folder, {kNan, kNan, kMinusInfinity, kOne, 0}, "hf8");
  EXPECT_EQ(nan.exit_code, 1);
  EXPECT_EQ(nan.err,
            "error: in: hf8 cannot hold it: 2 NaN, 1 infinite, 1 too large (largest 0.75); no "
            "format holds NaN and infinity, so look where the weights come from "
            "[NOT_REPRESENTABLE]\n");
  const RunResult large = EncodeRow(folder, {kOne, 0, kOne}, "hf8");
  EXPECT_EQ(large.exit_code, 1);
  EXPECT_THAT(large.err, StartsWith("error: in: hf8 cannot hold it: 2 too large (largest 0.75); "));
  EXPECT_EQ(folder.Names(), (std::vector<std::string>{"in"}));
}

// The largest fp16 everywhere; at 1/16 of it; and once, beside small weights.
std::vector<std::vector<uint16_t>> LargeTensors() {
  constexpr uint16_t kLargest = 0x7BFF;
  std::vector<uint16_t> once(4096, 0x1000);
  once.back() = kLargest;
  return {std::vector<uint16_t>(4096, kLargest),
          std::vector<uint16_t>(4096, 0x6C00),
          once,
          {kOne, 0, kOne, 0x4900}};
}

TEST(EncodeRefusalTest, AdvisesAFormatThatReallyTakesTheTensorOrNone) {
  const TemporaryFolder folder;
  for (const std::vector<uint16_t>& weights : LargeTensors()) {
    for (const FormatInfo& info : kFormats) {
      const RunResult refused = EncodeRow(folder, weights, std::string(info.name));
      if (refused.exit_code == 0) continue;
      const size_t end = refused.err.find(" can [");
      if (end == std::string::npos) {
        EXPECT_THAT(refused.err, HasSubstr("no smaller format can, so leave it in fp16"));
        continue;
      }
      const size_t begin = refused.err.rfind(' ', end - 1) + 1;
      const std::string advice = refused.err.substr(begin, end - begin);
      EXPECT_NE(advice, info.name);
      EXPECT_NE(InfoOf(*FormatByName(advice)).family, FormatFamily::kFp8) << "it saturates";
      const RunResult run = EncodeRow(folder, weights, advice);
      EXPECT_EQ(run.exit_code, 0) << refused.err << run.err;
    }
  }
}

TEST(EncodeRefusalTest, NamesTheSizeThatTheShapeNeeds) {
  const TemporaryFolder folder;
  WriteFile(folder.path() / "in", std::string(100, '\0'));
  for (const char* shape : {"1x49", "1x51", "4294967295", "65535x65537", "3x3x3x3"}) {
    const RunResult run =
        RunTightfit({.arguments = {"encode", "--format", "hf8", "--shape", shape, "in", "out"},
                     .directory = folder.path()});
    EXPECT_EQ(run.exit_code, 1) << shape;
    EXPECT_THAT(run.err,
                StartsWith("error: in: the file has 100 bytes, but fp16 weights of shape " +
                           std::string(shape) + " take "));
  }
  EXPECT_EQ(folder.Names(), (std::vector<std::string>{"in"}));
}

struct Place {
  std::string output;
  std::string message;
};

TEST(EncodeRefusalTest, SaysWhyTheOutputCannotBeWritten) {
  const TemporaryFolder folder;
  WriteFile(folder.path() / "in", BytesOf(SampleWeights(16)));
  std::filesystem::create_directory(folder.path() / "folder");
  const Place places[] = {
      {"no/such/out", "cannot write no/such/out: No such file or directory"},
      {"folder", "cannot write folder: it exists and is no regular file"},
      {"/dev/null", "cannot write /dev/null: it exists and is no regular file"},
      {"in", "cannot write in: it is the input"},
      {"./folder/../in", "it is the input"},
  };
  for (const Place& place : places) {
    const RunResult run = RunTightfit(
        {.arguments = {"encode", "--format", "hf8", "--shape", "16", "in", place.output},
         .directory = folder.path()});
    EXPECT_EQ(run.exit_code, 1) << place.output;
    EXPECT_THAT(run.err, HasSubstr(place.message));
    EXPECT_THAT(run.err, HasSubstr("[CANNOT_WRITE]"));
  }
  EXPECT_EQ(folder.Names(), (std::vector<std::string>{"folder", "in"}));
}

}  // namespace
}  // namespace tightfit::weights::testing
