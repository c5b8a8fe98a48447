// Runs the built `tightfit` command as a child process.
#ifndef TIGHTFIT_TESTS_UNIT_CLIENT_CLI_RUN_COMMAND_H_
#define TIGHTFIT_TESTS_UNIT_CLIENT_CLI_RUN_COMMAND_H_

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace tightfit::cli::testing {

struct RunOptions {
  std::vector<std::string> arguments;
  std::string input;  // stdin
  // In front of the fixed TERM=xterm and LC_ALL=C.UTF-8; nothing else is inherited.
  std::vector<std::string> environment;
  std::filesystem::path directory = ".";
  int terminal_columns = 0;  // stderr is a terminal this wide; 0: a pipe
};

struct RunResult {
  int exit_code = -1;  // 1000 + number where a signal ended the process
  std::string out;
  std::string err;
};

class RunningCommand {
 public:
  explicit RunningCommand(const RunOptions& options);
  ~RunningCommand();  // kills what still runs
  RunningCommand(const RunningCommand&) = delete;
  RunningCommand& operator=(const RunningCommand&) = delete;

  void Signal(int number) const;
  // Returns once the command has blocked the signal, as /proc shows; false after ten seconds.
  bool WaitUntilBlocked(int number) const;
  // Reads both streams to their ends; kills the command after thirty seconds.
  RunResult Wait();

 private:
  pid_t process_ = -1;
  int out_ = -1;
  int err_ = -1;
};

RunResult RunTightfit(const RunOptions& options);

// A fresh folder, removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  // Names in it, sorted.
  std::vector<std::string> Names() const;

 private:
  std::filesystem::path path_;
};

std::string ReadFile(const std::filesystem::path& path);

}  // namespace tightfit::cli::testing

#endif  // TIGHTFIT_TESTS_UNIT_CLIENT_CLI_RUN_COMMAND_H_
