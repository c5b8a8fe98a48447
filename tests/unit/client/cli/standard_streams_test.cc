// stdout and stderr that cannot be written, and outputs that are no files. Everything stays inside
// folders of the test.
#include "tests/unit/client/cli/run_command.h"
#include "tests/unit/client/scripted_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <string>

namespace tightfit::cli::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using namespace tightfit::testing;  // NOLINT: the script's vocabulary

class StandardStreamsTest : public ::testing::Test {
 protected:
  StandardStreamsTest()
      : server_({
            .stream_images =
                [](grpc::ServerContext&, const auto& request, StreamWriter& writer) {
                  return StreamWholeRequest(request, writer);
                },
            .list_models =
                [](const auto&, v1::ListModelsResponse& reply) {
                  for (int i = 0; i < 60; ++i) {  // more than a buffer of stdout holds
                    reply.add_models()->set_name("model-" + std::to_string(i));
                  }
                  return grpc::Status::OK;
                },
            .estimate_images = [](const v1::EstimateImagesRequest&,
                                  v1::EstimateImagesResponse&) { return grpc::Status::OK; },
            .watch_models =
                [](ModelWriter& writer) {
                  v1::WatchModelsResponse told;
                  told.mutable_model()->set_name("apples");
                  while (writer.Write(told)) {
                  }
                  return grpc::Status::OK;
                },
            .get_server_info = [](v1::GetServerInfoResponse&) { return grpc::Status::OK; },
            .get_capabilities = [](v1::GetCapabilitiesResponse&) { return grpc::Status::OK; },
        }) {}

  // Runs `tightfit ARGUMENTS` by a shell, with its redirections; the exit code.
  int Shell(const std::string& arguments) {
    const std::string line = "cd '" + folder_.path().string() +
                             "' && TIGHTFIT_SERVER=" + server_.address() +
                             " timeout 30 " TIGHTFIT_COMMAND " " + arguments;
    const int status = std::system(line.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }
  std::string Content(const std::string& name) const { return ReadFile(folder_.path() / name); }

  TemporaryFolder folder_;
  const ScriptedServer server_;
};

TEST_F(StandardStreamsTest, AnErrorStreamThatCannotBeWrittenCostsNoImage) {
  for (const char* stream : {"2>&-", "2>/dev/full", "2>&- --json", "2>/dev/full -q", "1>&- 2>&-"}) {
    fs::remove(folder_.path() / "a.png");
    Shell("generate apple -o a.png >out " + std::string(stream));
    EXPECT_TRUE(Content("a.png") == ImageContent(0, 1000)) << stream;
  }
  EXPECT_EQ(Shell("generate apple -o a.png >out 2>&-"), 0);
  // Of this pipe the reader goes at once.
  EXPECT_EQ(Shell("generate apple -o b.png 2>&1 >out | true"), 0);
  for (int i = 0; i < 100 && !fs::exists(folder_.path() / "b.png"); ++i) usleep(100'000);
  EXPECT_TRUE(Content("b.png") == ImageContent(0, 1000));
}

TEST_F(StandardStreamsTest, OutputThatCannotBeWrittenIsOneLineAndAFailure) {
  for (const char* command :
       {"models", "models --json", "info", "info --json", "generate apple", "generate apple --json",
        "generate apple --estimate", "generate apple --estimate --json", "models --watch",
        "models --watch --json", "--help", "generate --help", "--version"}) {
    for (const char* stream : {">/dev/full", ">&-"}) {
      EXPECT_EQ(Shell(std::string(command) + " 2>err " + stream), 1) << command << stream;
      const std::string error = Content("err");
      EXPECT_THAT(error, HasSubstr("error: cannot write to stdout: ")) << command << stream;
      EXPECT_THAT(error, ::testing::EndsWith("[CANNOT_WRITE]\n")) << command << stream;
    }
  }
}

TEST_F(StandardStreamsTest, ClosedStreamsAreNotMistakenForFilesOfOurs) {
  EXPECT_EQ(Shell("generate apple -o a.png <&- >&- 2>&-"), 1);
  EXPECT_TRUE(Content("a.png") == ImageContent(0, 1000));
}

TEST_F(StandardStreamsTest, ADeviceAndAFifoAreWrittenInto) {
  const fs::path fifo = folder_.path() / "fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  auto read = std::async(std::launch::async, [&] { return ReadFile(fifo); });
  EXPECT_EQ(Shell("generate apple -q -o fifo >out"), 0);
  EXPECT_TRUE(read.get() == ImageContent(0, 1000));
  EXPECT_TRUE(fs::is_fifo(fifo));
  // A device of our own making, where this may be done.
  const fs::path device = folder_.path() / "null";
  if (mknod(device.c_str(), S_IFCHR | 0600, 1 << 8 | 3) != 0) return;
  EXPECT_EQ(Shell("generate apple -q -o null --count 2 >out 2>err"), 0) << Content("err");
  EXPECT_TRUE(fs::is_character_file(device));
  EXPECT_THAT(folder_.Names(), ::testing::Not(::testing::Contains("null-1")));
}

TEST_F(StandardStreamsTest, LinksAreFollowedAndStay) {
  fs::create_directory(folder_.path() / "other");
  std::ofstream(folder_.path() / "other" / "there.png") << "old";
  fs::create_symlink("other/there.png", folder_.path() / "link.png");
  fs::create_symlink("other/new.png", folder_.path() / "dangling.png");
  fs::create_symlink("circle.png", folder_.path() / "circle.png");
  for (const auto& [link, file] :
       {std::pair("link.png", "other/there.png"), std::pair("dangling.png", "other/new.png")}) {
    EXPECT_EQ(Shell("generate apple -q -o " + std::string(link) + " >out"), 0);
    EXPECT_EQ(Content("out"), std::string(link) + "\n");
    EXPECT_TRUE(fs::is_symlink(folder_.path() / link));
    EXPECT_TRUE(Content(file) == ImageContent(0, 1000));
  }
  EXPECT_EQ(Shell("generate apple -o circle.png 2>err"), 2);
  EXPECT_THAT(Content("err"), HasSubstr("error: cannot write circle.png: "));
}

TEST_F(StandardStreamsTest, OneImageGoesToStdout) {
  for (const char* output : {"-", "/dev/stdout"}) {
    EXPECT_EQ(Shell("generate apple -o " + std::string(output) + " 2>err | cat >out"), 0);
    EXPECT_TRUE(Content("out") == ImageContent(0, 1000)) << output;
  }
  EXPECT_EQ(Shell("generate apple -o - >out 2>err"), 0);
  EXPECT_TRUE(Content("out") == ImageContent(0, 1000));
  EXPECT_EQ(Shell("generate apple -o - --json 2>err >out"), 2);
  EXPECT_EQ(Shell("generate apple -o - --count 2 2>err >out"), 2);
  EXPECT_THAT(Content("err"), HasSubstr("stdout takes one image"));
  EXPECT_EQ(Shell("generate apple -o - 2>err >/dev/full"), 1);
  EXPECT_THAT(folder_.Names(), ElementsAre("err", "out"));
}

}  // namespace
}  // namespace tightfit::cli::testing
