#include "server/security/watched_files.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

namespace tightfit {
namespace {

namespace fs = std::filesystem;

// Two files; what they hold must be the same text to be taken.
class WatchedFilesTest : public testing::Test {
 protected:
  WatchedFilesTest() : directory_(testing::TempDir() + "watched_" + std::to_string(::getpid())) {
    fs::create_directory(directory_);
    Write("a", "1");
    Write("b", "1");
    files_.emplace(std::vector<std::string>{Path("a"), Path("b")}, [this] { return Read(); });
  }
  ~WatchedFilesTest() override { fs::remove_all(directory_); }

  std::string Path(const std::string& name) const { return directory_ / name; }
  void Write(const std::string& name, const std::string& text) const {
    const std::string path = Path(name);
    std::ofstream(path + ".new") << text;
    fs::rename(path + ".new", path);
  }
  static std::string TextOf(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }
  Status Read() {
    ++readings_;
    if (!is_time_) return InvalidArgument("not valid yet");
    const std::string a = TextOf(Path("a"));
    if (a.empty() || a != TextOf(Path("b"))) return InvalidArgument("they do not fit");
    taken_ = a;
    return OkStatus();
  }

  const fs::path directory_;
  std::optional<WatchedFiles> files_;
  std::string taken_;
  int readings_ = 0;
  bool is_time_ = true;
};

TEST_F(WatchedFilesTest, ReadsOnlyWhatHasChanged) {
  EXPECT_EQ(files_->Look(), std::nullopt) << "as they were at the start";
  const int readings = readings_;
  EXPECT_EQ(files_->Look(), std::nullopt);
  EXPECT_EQ(readings_, readings);
  Write("a", "2");
  Write("b", "2");
  ASSERT_TRUE(files_->Look().has_value());
  EXPECT_EQ(taken_, "2");
  EXPECT_EQ(files_->Look(), std::nullopt);
}

TEST_F(WatchedFilesTest, SeesAFileThatIsWrittenInPlace) {
  (void)files_->Look();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // a tick of the file system's clock
  std::ofstream(Path("a")) << "3";
  std::ofstream(Path("b")) << "3";
  const auto status = files_->Look();
  ASSERT_TRUE(status.has_value());
  EXPECT_TRUE(status->ok());
}

TEST_F(WatchedFilesTest, WaitsForTheSecondOfTwo) {
  (void)files_->Look();
  Write("a", "2");
  EXPECT_EQ(files_->Look(), std::nullopt) << "it may be half done";
  Write("b", "2");
  const auto status = files_->Look();
  ASSERT_TRUE(status.has_value());
  EXPECT_TRUE(status->ok());
  EXPECT_EQ(taken_, "2");
}

TEST_F(WatchedFilesTest, TellsOnceOfWhatStaysBadAndTakesWhatGetsGood) {
  (void)files_->Look();
  Write("a", "2");
  EXPECT_EQ(files_->Look(), std::nullopt);
  const auto status = files_->Look();
  ASSERT_TRUE(status.has_value());
  EXPECT_FALSE(status->ok());
  EXPECT_EQ(files_->Look(), std::nullopt) << "a log line each time would be too many";
  EXPECT_EQ(taken_, "1");
  fs::remove(Path("a"));
  EXPECT_EQ(files_->Look(), std::nullopt);
  EXPECT_FALSE(files_->Look()->ok());
  Write("a", "4");
  Write("b", "4");
  EXPECT_TRUE(files_->Look()->ok());
  EXPECT_EQ(taken_, "4");
}

TEST_F(WatchedFilesTest, TakesWhatGetsGoodWithoutAChangeOfTheFiles) {
  (void)files_->Look();
  is_time_ = false;
  Write("a", "2");
  Write("b", "2");
  EXPECT_EQ(files_->Look(), std::nullopt);
  EXPECT_FALSE(files_->Look()->ok());
  EXPECT_EQ(files_->Look(), std::nullopt);
  is_time_ = true;
  const auto status = files_->Look();
  ASSERT_TRUE(status.has_value());
  EXPECT_TRUE(status->ok());
  EXPECT_EQ(taken_, "2");

  is_time_ = false;
  Write("a", "3");
  Write("b", "3");
  EXPECT_FALSE(files_->ReadNow().ok());
  EXPECT_EQ(files_->Look(), std::nullopt) << "told when it was asked for";
  is_time_ = true;
  EXPECT_TRUE(files_->Look()->ok());
  EXPECT_EQ(taken_, "3");
}

TEST_F(WatchedFilesTest, SaysNothingOfFilesThatAreAsAtTheStart) {
  is_time_ = false;
  for (int look = 0; look < 3; ++look) EXPECT_EQ(files_->Look(), std::nullopt);
}

TEST_F(WatchedFilesTest, ReadsAtOnceWhenAsked) {
  EXPECT_TRUE(files_->ReadNow().ok());
  Write("a", "2");
  EXPECT_FALSE(files_->ReadNow().ok());
  EXPECT_EQ(taken_, "1");
}

// What Kubernetes does with a mounted secret: the files are links into ..data, which is one too.
TEST_F(WatchedFilesTest, SeesADirectoryThatIsExchangedAboveIt) {
  for (const char* version : {"v1", "v2"}) {
    fs::create_directory(directory_ / version);
    std::ofstream(directory_ / version / "c") << version;
  }
  fs::create_directory_symlink("v1", directory_ / "..data");
  fs::create_symlink("..data/c", directory_ / "c");
  std::string text;
  WatchedFiles secret({Path("c")}, [&] {
    text = TextOf(Path("c"));
    return OkStatus();
  });
  (void)secret.Look();
  EXPECT_EQ(text, "v1");
  fs::create_directory_symlink("v2", directory_ / "..data_tmp");
  fs::rename(directory_ / "..data_tmp", directory_ / "..data");
  ASSERT_TRUE(secret.Look().has_value());
  EXPECT_EQ(text, "v2");
}

}  // namespace
}  // namespace tightfit
