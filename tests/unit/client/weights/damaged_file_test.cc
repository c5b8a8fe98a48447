#include "client/weights/packed_file.h"
#include "tests/unit/client/cli/run_command.h"
#include "tests/unit/client/weights/sample_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>

namespace tightfit::weights::testing {
namespace {

using cli::testing::ReadFile;
using cli::testing::RunResult;
using cli::testing::RunTightfit;
using cli::testing::TemporaryFolder;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// A small packed file with a side list.
std::string PackedFileBytes(const TemporaryFolder& folder) {
  std::vector<uint16_t> weights = SampleWeights(2000);
  weights[77] = 0x4800;  // 8: far from the others
  WriteFile(folder.path() / "in", BytesOf(weights));
  EXPECT_EQ(
      RunTightfit({.arguments = {"encode", "--format", "e2m5", "--shape", "2x1000", "in", "packed"},
                   .directory = folder.path()})
          .exit_code,
      0);
  return ReadFile(folder.path() / "packed");
}

TEST(DamagedFileTest, AChangedByteAnywhereIsRefused) {
  const TemporaryFolder folder;
  const std::string whole = PackedFileBytes(folder);
  ASSERT_GT(whole.size(), 2000u);
  for (size_t at = 0; at < whole.size(); ++at) {
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << (at % 8)));
    const auto read = ReadPackedFile(WriteFile(folder.path() / "bad", bytes));
    ASSERT_FALSE(read.ok()) << at;
    EXPECT_EQ(read.status().reason(), at < 128 ? "BAD_PACKED_FILE" : "CHECKSUM_MISMATCH") << at;
  }
}

TEST(DamagedFileTest, EveryTruncationAndAnExtraByteAreRefused) {
  const TemporaryFolder folder;
  const std::string whole = PackedFileBytes(folder);
  for (size_t size = 0; size < whole.size(); ++size) {
    const auto read = ReadPackedFile(WriteFile(folder.path() / "bad", whole.substr(0, size)));
    ASSERT_FALSE(read.ok()) << size;
    EXPECT_EQ(read.status().reason(), "BAD_PACKED_FILE") << size;
  }
  EXPECT_FALSE(ReadPackedFile(WriteFile(folder.path() / "bad", whole + "x")).ok());
  EXPECT_TRUE(ReadPackedFile(WriteFile(folder.path() / "bad", whole)).ok());
}

struct Damage {
  std::string bytes;
  std::string message;
};

TEST(DamagedFileTest, DecodeNamesTheFileAndTheFaultInOneLineAndWritesNothing) {
  const TemporaryFolder folder;
  const std::string whole = PackedFileBytes(folder);
  std::string wrong_code = whole;
  wrong_code[130] ^= 1;
  const Damage damages[] = {
      {"", "bad: the file is shorter than a header"},
      {std::string(5000, 'x'), "bad: the file does not begin with TFPACKED"},
      {whole.substr(0, 1000), "bad: the file is shorter than its header says"},
      {whole + "x", "bad: the file is longer than its header says"},
      {wrong_code, "bad: its SHA-256 is not the one of its header"},
  };
  for (const Damage& damage : damages) {
    WriteFile(folder.path() / "bad", damage.bytes);
    const RunResult run =
        RunTightfit({.arguments = {"decode", "bad", "out"}, .directory = folder.path()});
    EXPECT_EQ(run.exit_code, 1) << damage.message;
    EXPECT_THAT(run.err, StartsWith("error: " + damage.message));
    EXPECT_EQ(std::count(run.err.begin(), run.err.end(), '\n'), 1) << run.err;
    EXPECT_EQ(folder.Names(), (std::vector<std::string>{"bad", "in", "packed"}));
  }
  const RunResult missing =
      RunTightfit({.arguments = {"decode", "no-such", "out"}, .directory = folder.path()});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_EQ(missing.err, "error: cannot read no-such: No such file or directory [CANNOT_READ]\n");
}

}  // namespace
}  // namespace tightfit::weights::testing
