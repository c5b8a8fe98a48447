#include "client/cli/whole_file.h"

#include "tests/unit/client/cli/run_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <thread>

namespace tightfit::cli::testing {
namespace {

using ::testing::HasSubstr;

TEST(WholeFileTest, AFileUpToTheLimitIsReadWhole) {
  const TemporaryFolder folder;
  const std::string path = folder.path() / "file";
  const std::string content(200'000, 'x');
  std::ofstream(path) << content;
  EXPECT_EQ(ReadWholeFile(path, content.size()).value(), content);
  const Status status = ReadWholeFile(path, content.size() - 1).status();
  EXPECT_EQ(status.reason(), "CANNOT_READ");
  EXPECT_EQ(status.message(), "cannot read " + path + ": it is larger than 199999 bytes");
}

TEST(WholeFileTest, WhatIsNoFileIsToldApart) {
  const TemporaryFolder folder;
  const auto message = [](const std::string& path) {
    return ReadWholeFile(path, 1 << 20).status().message();
  };
  const std::string path = folder.path();
  EXPECT_EQ(message(path), "cannot read " + path + ": it is a folder");
  EXPECT_EQ(message(path + "/none"), "cannot read " + path + "/none: No such file or directory");
  std::ofstream(path + "/empty").close();
  EXPECT_EQ(message(path + "/empty"), "cannot read " + path + "/empty: it is empty");
}

TEST(WholeFileTest, APipeWithoutEndIsReadUpToTheLimit) {
  const TemporaryFolder folder;
  const std::string path = folder.path() / "fifo";
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  signal(SIGPIPE, SIG_IGN);
  std::thread endless([&path] {
    std::FILE* const fifo = std::fopen(path.c_str(), "w");
    while (std::fputs("image", fifo) >= 0) {
    }
    std::fclose(fifo);
  });
  EXPECT_EQ(ReadWholeFile(path, 1 << 20).status().message(),
            "cannot read " + path + ": it is larger than 1 MiB");
  endless.join();
  signal(SIGPIPE, SIG_DFL);
}

struct Shown {
  int exit_code = -1;
  std::string text;  // stdout and stderr
};

// `line` for a shell in `folder`, with $T as the command.
Shown Shell(const TemporaryFolder& folder, const std::string& line) {
  const std::string command = "cd " + folder.path().string() + " && T=" TIGHTFIT_COMMAND " && " +
                              "export TIGHTFIT_SERVER=127.0.0.1:1 && " + line;
  Shown shown;
  std::FILE* const pipe = popen(("{ " + command + "; } 2>&1").c_str(), "r");
  char block[4096];
  for (size_t count; (count = std::fread(block, 1, sizeof(block), pipe)) > 0;) {
    shown.text.append(block, count);
  }
  const int status = pclose(pipe);
  shown.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return shown;
}

TEST(WholeFileTest, APromptComesFromAReadableStdinOnly) {
  const TemporaryFolder folder;
  const std::pair<const char*, const char*> cases[] = {
      {"$T generate - < .", "error: prompt: cannot read stdin: it is a folder"},
      {"$T generate - <&-", "error: prompt: cannot read stdin: it is closed"},
      {"yes apple | $T generate -", "error: prompt: cannot read stdin: it is larger than 1 MiB"},
      {"$T generate x --from-png .", "error: --from-png: cannot read .: it is a folder"},
      {"$T generate x --from-png none", "error: --from-png: cannot read none: No such file"},
      {"$T generate x --initial-latents .", "error: --initial-latents: cannot read .: it is a"},
      {"$T info --token-file .", "error: --token-file: cannot read .: it is a folder"},
      {"mkfifo f && { yes > f & } && $T info --token-file f", "larger than 65536 bytes"},
      {"$T info --tls-ca .", "error: --tls-ca: cannot read .: it is a folder"},
      {"echo '-----BEGIN PRIVATE KEY-----' > k && $T info --tls-ca k",
       "error: --tls-ca: k is PEM, but holds no CERTIFICATE"},
  };
  for (const auto& [line, message] : cases) {
    const Shown shown = Shell(folder, line);
    EXPECT_EQ(shown.exit_code, 2) << line << "\n" << shown.text;
    EXPECT_THAT(shown.text, HasSubstr(message)) << line;
  }
}

}  // namespace
}  // namespace tightfit::cli::testing
