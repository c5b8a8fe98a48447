#include "client/cli/image_files.h"

#include "tests/unit/client/cli/run_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <string>

namespace tightfit::cli {
namespace {

using ::testing::ElementsAre;
using testing::ReadFile;
using testing::TemporaryFolder;

client::Image Image(int32_t index, int64_t seed, const std::string& content) {
  return {.index = index, .seed = seed, .mime_type = "image/png", .content = content};
}

TEST(ImageFilesTest, ReplacesTheNamedFileWhole) {
  const TemporaryFolder folder;
  const std::string path = (folder.path() / "apple.png").string();
  std::ofstream(path) << "a longer old image";
  const auto files = ImageFiles::Create(path);
  ASSERT_TRUE(files.ok());
  EXPECT_EQ(files->Write(Image(0, 5, "new"), 1).value(), path);
  EXPECT_EQ(ReadFile(path), "new");
  EXPECT_THAT(folder.Names(), ElementsAre("apple.png")) << "no temporary file stays";
}

TEST(ImageFilesTest, GivesNewFilesWhatTheUmaskAllows) {
  const TemporaryFolder folder;
  const std::string path = (folder.path() / "apple.png").string();
  const mode_t previous = umask(027);
  ASSERT_TRUE(ImageFiles::Create(path)->Write(Image(0, 5, "x"), 1).ok());
  umask(previous);
  struct stat file = {};
  ASSERT_EQ(stat(path.c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777, 0640u);
}

TEST(ImageFilesTest, NumbersByIndexFromOneAndKeepsTheExtension) {
  const TemporaryFolder folder;
  const auto files = ImageFiles::Create((folder.path() / "a.b").string());
  ASSERT_TRUE(files->Write(Image(1, 5, "x"), 2).ok());
  EXPECT_THAT(folder.Names(), ElementsAre("a-2.b"));
}

TEST(ImageFilesTest, RefusesFoldersThatAreNotThere) {
  const TemporaryFolder folder;
  const std::string inner = (folder.path() / "no" / "apple.png").string();
  EXPECT_FALSE(ImageFiles::Create(inner).ok());
  EXPECT_FALSE(ImageFiles::Create((folder.path() / "no" / "no/").string()).ok());
}

TEST(ImageFilesTest, RefusesOtherImageFormats) {
  EXPECT_EQ(ImageFiles::Create("apple.jpg").status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(ImageFiles::Create("apple.webp").status().code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(ImageFiles::Create("apple").ok());
  EXPECT_TRUE(ImageFiles::Create("apple.PNG").ok());
}

}  // namespace
}  // namespace tightfit::cli
