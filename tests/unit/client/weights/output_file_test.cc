#include "client/weights/output_file.h"

#include "tests/unit/client/cli/run_command.h"
#include "tests/unit/client/weights/sample_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <vector>

namespace tightfit::weights::testing {
namespace {

using cli::testing::ReadFile;
using cli::testing::TemporaryFolder;
using ::testing::HasSubstr;
using Names = std::vector<std::string>;

TEST(OutputFileTest, AppearsAtCommitAndNotBefore) {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "out";
  auto file = OutputFile::Create(path, "in");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(folder.Names(), Names());
  ASSERT_TRUE((*file)->Write("abc", 3).ok());
  EXPECT_FALSE(std::filesystem::exists(path));
  ASSERT_TRUE((*file)->Write("defg", 4).ok());
  ASSERT_TRUE((*file)->Commit().ok());
  EXPECT_EQ(folder.Names(), Names{"out"});
  EXPECT_EQ(ReadFile(path), "abcdefg");
}

TEST(OutputFileTest, OfNothingIsAnEmptyFile) {
  const TemporaryFolder folder;
  auto file = OutputFile::Create(folder.path() / "out", "in");
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE((*file)->Commit().ok());
  EXPECT_EQ(ReadFile(folder.path() / "out"), "");
  EXPECT_EQ(folder.Names(), Names{"out"});
}

TEST(OutputFileTest, KeepsTheOldFileUnlessCommitted) {
  const TemporaryFolder folder;
  const std::string path = WriteFile(folder.path() / "out", "old");
  {
    auto file = OutputFile::Create(path, "in");
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE((*file)->Write("new", 3).ok());
  }
  EXPECT_EQ(ReadFile(path), "old");
  EXPECT_EQ(folder.Names(), Names{"out"});

  auto file = OutputFile::Create(path, "in");
  ASSERT_TRUE((*file)->Write("new", 3).ok());
  ASSERT_TRUE((*file)->Commit().ok());
  EXPECT_EQ(ReadFile(path), "new");
}

// A limit on the size of files fails in the same call as a full disk.
TEST(OutputFileTest, LeavesNothingOnAFullDisk) {
  const TemporaryFolder folder;
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = signal(SIGXFSZ, SIG_IGN);
  rlimit limit = before;
  limit.rlim_cur = 1000;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  Status written;
  {
    auto file = OutputFile::Create(folder.path() / "out", "in");
    const std::string bytes(1500, 'x');
    if (file.ok()) written = (*file)->Write(bytes.data(), bytes.size());
  }
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, old_handler);
  EXPECT_EQ(written.reason(), "CANNOT_WRITE");
  EXPECT_THAT(written.message(), HasSubstr("out: File too large"));
  EXPECT_EQ(folder.Names(), Names());
}

TEST(OutputFileTest, HasTheRightsThatTheUmaskAllows) {
  const TemporaryFolder folder;
  const mode_t old_mask = umask(027);
  auto file = OutputFile::Create(folder.path() / "out", "in");
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE((*file)->Commit().ok());
  umask(old_mask);
  struct stat status = {};
  ASSERT_EQ(stat((folder.path() / "out").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0640u);
}

TEST(OutputFileTest, RefusesALinkToItsInput) {
  const TemporaryFolder folder;
  const std::string input = WriteFile(folder.path() / "in", "weights");
  std::filesystem::create_symlink("in", folder.path() / "link");
  EXPECT_FALSE(OutputFile::Create(folder.path() / "link", input).ok());
}

TEST(OutputFileTest, FollowsALinkWhichStays) {
  const TemporaryFolder folder;
  for (const char* target : {"there", "new"}) {
    if (std::string(target) == "there") WriteFile(folder.path() / target, "old");
    const std::filesystem::path link = folder.path() / (std::string("to-") + target);
    std::filesystem::create_symlink(target, link);
    auto file = OutputFile::Create(link, "in");
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE((*file)->Write("abc", 3).ok());
    ASSERT_TRUE((*file)->Commit().ok());
    EXPECT_TRUE(std::filesystem::is_symlink(link));
    EXPECT_EQ(ReadFile(folder.path() / target), "abc");
  }
  EXPECT_EQ(folder.Names(), (Names{"new", "there", "to-new", "to-there"}));
}

}  // namespace
}  // namespace tightfit::weights::testing
