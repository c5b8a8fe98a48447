// One address file, several servers.
#include "server/app/serve.h"
#include "tests/integration/served_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <sstream>

namespace tightfit {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;

class AddressFileTest : public ServedFixture {
 protected:
  std::string Contents() const {
    std::ostringstream text;
    text << std::ifstream(scratch_.Path("addresses.json")).rdbuf();
    return text.str();
  }
  ChildOutcome RunSecond(const std::string& file) {
    return RunChild({TIGHTFIT_FAKE_SERVER, "--listen=127.0.0.1:0", "--metrics-listen=none",
                     "--address-file=" + scratch_.Path(file),
                     "--model=one=" + scratch_.MakeModel("one")});
  }
};

TEST_F(AddressFileTest, IsRefusedToASecondServerWhileTheFirstRuns) {
  StartAndWaitUntilReady();
  const std::string before = Contents();
  std::filesystem::create_symlink(scratch_.Path("addresses.json"), scratch_.Path("link"));
  for (const char* name : {"addresses.json", "link"}) {
    const ChildOutcome second = RunSecond(name);
    EXPECT_EQ(second.code, kExitConfiguration);
    EXPECT_EQ(second.standard_error.substr(second.standard_error.find("tightfit-server: ")),
              "tightfit-server: address_file: cannot write " + scratch_.Path(name) +
                  ": it belongs to another server that runs\n");
  }
  EXPECT_EQ(Contents(), before);
  Terminate();
  EXPECT_EQ(ExitCode(), kExitDrained);
  EXPECT_FALSE(scratch_.Has("addresses.json"));
}

TEST_F(AddressFileTest, OfADeadServerIsReplaced) {
  Start();
  server_->process().Signal(SIGKILL);
  ExitCode();
  ASSERT_TRUE(scratch_.Has("addresses.json"));
  const std::string stale = Contents();
  std::filesystem::rename(scratch_.Path("addresses.json"), scratch_.Path("old"));
  std::filesystem::copy_file(scratch_.Path("old"), scratch_.Path("addresses.json"));
  server_ = nullptr;
  // WaitForAddresses would take the stale file for its own.
  const auto second = ChildProcess::Start(
      {TIGHTFIT_FAKE_SERVER, "--listen=unix:" + scratch_.Path("socket"), "--metrics-listen=none",
       "--address-file=" + scratch_.Path("addresses.json"),
       "--model=one=" + scratch_.MakeModel("one")},
      {});
  EXPECT_TRUE(WaitUntil([&] { return Contents() != stale; }));
  EXPECT_THAT(Contents(), HasSubstr("unix:"));
  second->Signal(SIGTERM);
  EXPECT_EQ(second->WaitForExit(seconds(20)), kExitDrained);
  EXPECT_FALSE(scratch_.Has("addresses.json"));
}

TEST_F(AddressFileTest, ThatSomebodyElseHasReplacedStays) {
  StartAndWaitUntilReady();
  std::filesystem::remove(scratch_.Path("addresses.json"));
  scratch_.Write("addresses.json", "somebody else's");
  Terminate();
  EXPECT_EQ(ExitCode(), kExitDrained);
  EXPECT_EQ(Contents(), "somebody else's");
}

TEST_F(AddressFileTest, IsNeverWrittenOverWhatIsNoFile) {
  ASSERT_EQ(mkfifo(scratch_.Path("pipe").c_str(), 0600), 0);
  std::filesystem::create_directory(scratch_.Path("folder"));
  for (const char* name : {"pipe", "folder"}) {
    const ChildOutcome refused = RunSecond(name);
    EXPECT_EQ(refused.code, kExitConfiguration);
    EXPECT_THAT(refused.standard_error, HasSubstr("it exists and is no regular file"));
  }
  EXPECT_EQ(std::filesystem::status(scratch_.Path("pipe")).type(),
            std::filesystem::file_type::fifo);
}

TEST_F(AddressFileTest, OneSocketOfTwoServersIsRefusedByName) {
  const std::string address = "unix:" + scratch_.Path("socket");
  const auto first =
      ChildProcess::Start({TIGHTFIT_FAKE_SERVER, "--listen=" + address, "--metrics-listen=none",
                           "--address-file=" + scratch_.Path("addresses.json"),
                           "--model=one=" + scratch_.MakeModel("one")},
                          {});
  ASSERT_TRUE(WaitUntil([this] { return scratch_.Has("addresses.json"); }));
  const ChildOutcome second =
      RunChild({TIGHTFIT_FAKE_SERVER, "--listen=" + address, "--metrics-listen=none",
                "--model=one=" + scratch_.MakeModel("one")});
  EXPECT_EQ(second.code, kExitConfiguration);
  EXPECT_THAT(second.standard_error, HasSubstr("another server answers there"));
  EXPECT_TRUE(scratch_.Has("socket"));
}

}  // namespace
}  // namespace tightfit
