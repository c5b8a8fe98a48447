#include "kernels/format.h"
#include "tests/unit/client/cli/run_command.h"
#include "tests/unit/client/weights/sample_weights.h"
#include "tests/unit/model/safetensors_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <string>
#include <vector>

namespace tightfit::weights::testing {
namespace {

using cli::testing::RunResult;
using cli::testing::RunTightfit;
using cli::testing::TemporaryFolder;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using Json = nlohmann::json;

// Two tensors worth measuring, small enough to do it by hand.
//   small.weight [2, 16]: 0.5 and 2^-16, the latter a tie that hf8 rounds to 0; else zeros
//   large.weight [1, 2, 1, 2]: 1, 0.5, 0, 0: above hf8's largest
void WriteModel(const TemporaryFolder& folder) {
  std::vector<uint16_t> small(32, 0);
  small[0] = 0x3800;
  small[20] = 0x0100;
  const std::vector<uint16_t> large = {0x3C00, 0x3800, 0, 0};
  SafetensorsWriter writer;
  writer.Add("small.weight", "F16", {2, 16}, BytesOf(small));
  writer.Add("small.bias", "F16", {2}, "abcd");
  writer.Add("large.weight", "F16", {1, 2, 1, 2}, BytesOf(large));
  writer.Add("token_embedding.weight", "F16", {1, 2}, "abcd");
  WriteFile(folder.path() / "model", writer.Bytes());
}

RunResult Report(const TemporaryFolder& folder, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"report", "model"});
  return RunTightfit({.arguments = std::move(arguments), .directory = folder.path()});
}

const Json& FormatOf(const Json& list, const std::string& name) {
  for (const Json& format : list["formats"]) {
    if (format["format"] == name) return format;
  }
  static const Json none;
  return none;
}

TEST(ReportCommandTest, JsonHoldsEachTensorAndTheirSums) {
  const TemporaryFolder folder;
  WriteModel(folder);
  const RunResult run = Report(folder, {"--json", "--formats", "hf8,hf12,bf16"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(run.err, "");
  const Json report = Json::parse(run.out);
  EXPECT_EQ(report["file"], "model");
  EXPECT_EQ(report["scope"], "linear+conv");
  EXPECT_EQ(report["tensor_count"], 2);
  EXPECT_EQ(report["weight_count"], 36);
  EXPECT_EQ(report["rounded_tensor_count"], 0);
  EXPECT_EQ(report["left_out"], Json({{"vectors", 1}, {"embeddings", 1}, {"others", 0}}));

  const Json& small = report["tensors"][0];
  EXPECT_EQ(small["name"], "small.weight");
  EXPECT_EQ(small["shape"], Json({2, 16}));
  EXPECT_EQ(small["dtype"], "F16");
  ASSERT_EQ(small["formats"].size(), 3u);
  const Json& small_hf8 = FormatOf(small, "hf8");
  EXPECT_EQ(small_hf8["packed"], true);
  EXPECT_EQ(small_hf8["stored_bytes"], 32);
  EXPECT_EQ(small_hf8["bits_per_weight"], 8.0);
  EXPECT_EQ(small_hf8["became_zero_count"], 1);
  EXPECT_EQ(small_hf8["exact_count"], 31);
  EXPECT_EQ(small_hf8["noise_energy"], 0x1p-32);
  EXPECT_EQ(small_hf8["signal_energy"], 0.25 + 0x1p-32);
  EXPECT_EQ(small_hf8["max_error"], 0x1p-16);
  EXPECT_NEAR(small_hf8["sqnr_db"], 10 * std::log10(0x1p30 + 1), 1e-9);
  EXPECT_EQ(FormatOf(small, "hf12")["sqnr_db"], nullptr);  // exact
  EXPECT_EQ(FormatOf(small, "bf16")["stored_bytes"], 64);
  // Formats of the classes 6 and 10 were not asked for.
  EXPECT_EQ(small["best"],
            Json::parse(R"([{"bits":8,"format":"hf8"},{"bits":12,"format":"hf12"}])"));

  const Json& large_hf8 = FormatOf(report["tensors"][1], "hf8");
  EXPECT_EQ(large_hf8["packed"], false);
  EXPECT_EQ(large_hf8["out_of_range_count"], 1);
  EXPECT_EQ(large_hf8["stored_bytes"], 8);  // left in fp16
  EXPECT_EQ(large_hf8["noise_energy"], 0.0);
  EXPECT_EQ(report["tensors"][1]["best"][0], Json({{"bits", 8}, {"format", nullptr}}));

  const Json& all_hf8 = FormatOf(report["all_tensors"], "hf8");
  EXPECT_EQ(all_hf8["stored_bytes"], 40);
  EXPECT_EQ(all_hf8["packed_tensor_count"], 1);
  EXPECT_EQ(all_hf8["left_tensor_count"], 1);
  EXPECT_EQ(all_hf8["left_weight_count"], 4);
  EXPECT_EQ(all_hf8["signal_energy"], 1.5 + 0x1p-32);
  EXPECT_EQ(all_hf8["noise_energy"], 0x1p-32);
  EXPECT_NEAR(all_hf8["bits_per_weight"], 8.0 * 40 / 36, 1e-12);
  const Json& best = report["all_tensors"]["best"][0];
  EXPECT_EQ(best["format"], "hf8");
  EXPECT_EQ(best["each_in_its_best"]["stored_bytes"], 40);
}

TEST(ReportCommandTest, JsonCountsTensorsThatWereRounded) {
  const TemporaryFolder folder;
  SafetensorsWriter writer;
  writer.Add("a.weight", "F32", {1, 4}, BytesOf(std::vector<float>{0.1f, 0.2f, 1e6f, 0}));
  writer.Add("b.weight", "BF16", {1, 2}, BytesOf(std::vector<uint16_t>{0x3F80, 0}));
  WriteFile(folder.path() / "model", writer.Bytes());
  const Json report = Json::parse(Report(folder, {"--json", "--formats", "bf16"}).out);
  EXPECT_EQ(report["rounded_tensor_count"], 2);
  EXPECT_EQ(FormatOf(report["tensors"][0], "bf16")["infinity_count"], 1);  // 1e6 is no fp16
  EXPECT_EQ(FormatOf(report["tensors"][1], "bf16")["exact_count"], 2);
  EXPECT_THAT(Report(folder, {}).out, HasSubstr("2 tensors of bf16 or fp32: rounded to fp16"));
}

TEST(ReportCommandTest, TextShowsTensorsClassesAndEveryFormat) {
  const TemporaryFolder folder;
  WriteModel(folder);
  const RunResult run = Report(folder, {});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(run.err, "");
  EXPECT_THAT(run.out, StartsWith("model: 2 tensors of scope linear+conv, 36 weights\n"
                                  "Left out: 1 of one dimension, 1 embedding table, 0 out of "));
  EXPECT_THAT(run.out, HasSubstr("small.weight  2x16"));
  EXPECT_THAT(run.out, HasSubstr("large.weight  1x2x1x2"));
  for (const FormatInfo& info : kFormats) {
    EXPECT_THAT(run.out, HasSubstr("\n" + std::string(info.name) + " "));
  }
  for (const char* bits : {"6 bits", "8 bits", "10 bits", "12 bits"}) {
    EXPECT_THAT(run.out, HasSubstr(std::string("\n") + bits + " "));
  }
  const RunResult summary = Report(folder, {"--summary", "--bits", "8"});
  EXPECT_THAT(summary.out, Not(HasSubstr("small.weight")));
  EXPECT_THAT(summary.out, Not(HasSubstr("10 bits")));
  EXPECT_THAT(summary.out, HasSubstr("8 bits"));
}

TEST(ReportCommandTest, IsTheSameWithAnyNumberOfThreads) {
  const TemporaryFolder folder;
  SafetensorsWriter writer;
  writer.Add("a.weight", "F16", {300, 500}, BytesOf(SampleWeights(150000)));
  WriteFile(folder.path() / "model", writer.Bytes());
  const std::vector<std::string> options = {"--json", "--formats", "hf8,e2m5,e2m3r,nf4"};
  std::vector<std::string> one = options;
  one.insert(one.end(), {"--threads", "1"});
  std::vector<std::string> many = options;
  many.insert(many.end(), {"--threads", "4"});
  EXPECT_EQ(Report(folder, one).out, Report(folder, many).out);
}

TEST(ReportCommandTest, FailsInOneLineAndWithJsonInADocument) {
  const TemporaryFolder folder;
  const RunResult missing = Report(folder, {"--json"});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_EQ(missing.err, "error: cannot read model: No such file or directory [CANNOT_READ]\n");
  EXPECT_EQ(Json::parse(missing.out)["error"]["reason"], "CANNOT_READ");

  WriteFile(folder.path() / "model", "no safetensors at all");
  const RunResult bad = Report(folder, {});
  EXPECT_EQ(bad.exit_code, 1);
  EXPECT_EQ(bad.out, "");
  EXPECT_THAT(bad.err, StartsWith("error: model: "));

  WriteModel(folder);
  const RunResult none = Report(folder, {"--name", "no*", "--scope", "linear"});
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_EQ(
      none.err,
      "error: model: none of its 4 tensors is a matrix or a convolution within --scope linear "
      "and --name no* [NO_TENSORS]\n");
}

}  // namespace
}  // namespace tightfit::weights::testing
