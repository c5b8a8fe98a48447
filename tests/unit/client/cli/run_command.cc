#include "tests/unit/client/cli/run_command.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>

namespace tightfit::cli::testing {
namespace {

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

void Check(bool ok) {
  if (!ok) std::abort();
}

// Appends what is there; false at the end of the stream (EIO: the terminal's other side is closed).
bool ReadSome(int file, std::string* text) {
  char buffer[4096];
  const ssize_t count = read(file, buffer, sizeof(buffer));
  if (count <= 0) return false;
  text->append(buffer, static_cast<size_t>(count));
  return true;
}

}  // namespace

RunningCommand::RunningCommand(const RunOptions& options) {
  int in_pipe[2];
  int out_pipe[2];
  int err_pipe[2];
  Check(pipe2(in_pipe, O_CLOEXEC) == 0 && pipe2(out_pipe, O_CLOEXEC) == 0);
  if (options.terminal_columns > 0) {
    winsize size = {};
    size.ws_row = 24;
    size.ws_col = static_cast<unsigned short>(options.terminal_columns);
    Check(openpty(&err_pipe[0], &err_pipe[1], nullptr, nullptr, &size) == 0);
    for (const int file : err_pipe) fcntl(file, F_SETFD, FD_CLOEXEC);
  } else {
    Check(pipe2(err_pipe, O_CLOEXEC) == 0);
  }

  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, in_pipe[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&files, out_pipe[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&files, err_pipe[1], STDERR_FILENO);
  posix_spawn_file_actions_addchdir_np(&files, options.directory.c_str());
  // A test runner in the background has SIGINT ignored; the command must not inherit that.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGINT);
  sigaddset(&defaults, SIGTERM);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);

  std::vector<std::string> arguments = {"tightfit"};
  arguments.insert(arguments.end(), options.arguments.begin(), options.arguments.end());
  // Of two variables with one name the first counts.
  std::vector<std::string> environment = options.environment;
  environment.insert(environment.end(), {"TERM=xterm", "LC_ALL=C.UTF-8"});
  for (const char* name : {"ASAN_OPTIONS", "UBSAN_OPTIONS", "LD_LIBRARY_PATH"}) {
    const char* value = std::getenv(name);
    if (value != nullptr) environment.push_back(std::string(name) + "=" + value);
  }
  Check(posix_spawn(&process_, TIGHTFIT_COMMAND, &files, &attributes, Pointers(arguments).data(),
                    Pointers(environment).data()) == 0);
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&attributes);
  close(in_pipe[0]);
  close(out_pipe[1]);
  close(err_pipe[1]);
  Check(write(in_pipe[1], options.input.data(), options.input.size()) ==
        static_cast<ssize_t>(options.input.size()));
  close(in_pipe[1]);
  out_ = out_pipe[0];
  err_ = err_pipe[0];
}

RunningCommand::~RunningCommand() {
  if (process_ > 0) {
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
  }
  close(out_);
  close(err_);
}

void RunningCommand::Signal(int number) const { Check(kill(process_, number) == 0); }

bool RunningCommand::WaitUntilBlocked(int number) const {
  const std::filesystem::path status = "/proc/" + std::to_string(process_) + "/status";
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (std::chrono::steady_clock::now() < deadline) {
    const std::string text = ReadFile(status);
    const size_t at = text.find("SigBlk:");
    if (at == std::string::npos) return false;
    const uint64_t blocked = std::strtoull(text.c_str() + at + 7, nullptr, 16);
    if ((blocked >> (number - 1) & 1) != 0) return true;
    usleep(1000);
  }
  return false;
}

RunResult RunningCommand::Wait() {
  RunResult result;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  pollfd streams[] = {{out_, POLLIN, 0}, {err_, POLLIN, 0}};
  while (streams[0].fd >= 0 || streams[1].fd >= 0) {
    if (std::chrono::steady_clock::now() > deadline) kill(process_, SIGKILL);
    if (poll(streams, 2, 1000) <= 0) continue;
    if (streams[0].revents != 0 && !ReadSome(out_, &result.out)) streams[0].fd = -1;
    if (streams[1].revents != 0 && !ReadSome(err_, &result.err)) streams[1].fd = -1;
  }
  int status = 0;
  Check(waitpid(process_, &status, 0) == process_);
  process_ = -1;
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  return result;
}

RunResult RunTightfit(const RunOptions& options) { return RunningCommand(options).Wait(); }

TemporaryFolder::TemporaryFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "tightfit-test-XXXXXX").string();
  Check(mkdtemp(name.data()) != nullptr);
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::vector<std::string> TemporaryFolder::Names() const {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(path_)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace tightfit::cli::testing
