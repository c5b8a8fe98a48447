#include "tests/support/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

extern char** environ;

namespace tightfit {
namespace {

std::string ReadWhole(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::string> MergedEnvironment(const std::map<std::string, std::string>& over) {
  std::map<std::string, std::string> merged = over;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const size_t equals = text.find('=');
    if (equals != std::string::npos)
      merged.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  std::vector<std::string> lines;
  for (const auto& [name, value] : merged) lines.push_back(name + "=" + value);
  return lines;
}

std::vector<char*> Pointers(std::vector<std::string>* strings) {
  std::vector<char*> pointers;
  for (std::string& text : *strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

std::unique_ptr<ChildProcess> ChildProcess::Start(
    const std::vector<std::string>& arguments,
    const std::map<std::string, std::string>& environment) {
  std::string directory = std::filesystem::temp_directory_path() / "tightfit_child_XXXXXX";
  if (mkdtemp(directory.data()) == nullptr) return nullptr;

  std::vector<std::string> argument_texts = arguments;
  std::vector<std::string> environment_texts = MergedEnvironment(environment);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  const std::string out = directory + "/stdout";
  const std::string err = directory + "/stderr";
  constexpr int kFlags = O_WRONLY | O_CREAT | O_APPEND;
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, out.c_str(), kFlags, 0600);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, err.c_str(), kFlags, 0600);
  pid_t pid = 0;
  const int error =
      posix_spawn(&pid, arguments[0].c_str(), &actions, nullptr, Pointers(&argument_texts).data(),
                  Pointers(&environment_texts).data());
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    std::filesystem::remove_all(directory);
    return nullptr;
  }
  return std::unique_ptr<ChildProcess>(new ChildProcess(pid, std::move(directory)));
}

ChildProcess::ChildProcess(pid_t pid, std::string directory)
    : pid_(pid), directory_(std::move(directory)) {
  waiter_ = std::thread([this] {
    int status = 0;
    siginfo_t ended;
    // First only looks, so that the id stays the child's own until no signal can be sent any more.
    waitid(P_PID, static_cast<id_t>(pid_), &ended, WEXITED | WNOWAIT);
    const std::lock_guard lock(mutex_);
    waitpid(pid_, &status, 0);
    code_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    exited_.notify_all();
  });
}

ChildProcess::~ChildProcess() {
  Signal(SIGKILL);
  waiter_.join();
  std::filesystem::remove_all(directory_);
}

void ChildProcess::Signal(int signal) const {
  const std::lock_guard lock(mutex_);
  if (!code_.has_value()) kill(pid_, signal);
}

bool ChildProcess::has_exited() const {
  const std::lock_guard lock(mutex_);
  return code_.has_value();
}

std::optional<int> ChildProcess::WaitForExit(std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  exited_.wait_for(lock, limit, [this] { return code_.has_value(); });
  return code_;
}

std::string ChildProcess::standard_output() const { return ReadWhole(directory_ + "/stdout"); }
std::string ChildProcess::standard_error() const { return ReadWhole(directory_ + "/stderr"); }

ChildOutcome RunChild(const std::vector<std::string>& arguments,
                      const std::map<std::string, std::string>& environment) {
  ChildOutcome outcome;
  const std::unique_ptr<ChildProcess> child = ChildProcess::Start(arguments, environment);
  if (child == nullptr) return outcome;
  const std::optional<int> code = child->WaitForExit(std::chrono::seconds(30));
  if (code.has_value()) outcome.code = *code;
  outcome.standard_output = child->standard_output();
  outcome.standard_error = child->standard_error();
  return outcome;
}

}  // namespace tightfit
