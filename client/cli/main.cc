// The `tightfit` command.
#include "client/cli/command_line.h"
#include "client/cli/commands.h"
#include "client/cli/interrupt_watcher.h"
#include "client/cli/sibling_program.h"
#include "client/cli/standard_streams.h"

#include <clocale>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <variant>

namespace {

// Commands that are programs of their own.
const char* SiblingOf(const char* command) {
  if (std::strcmp(command, "fidelity") == 0) return "tightfit-fidelity";
  return std::strcmp(command, "pack") == 0 ? "tightfit-pack" : nullptr;
}

int RunCommandLine(int argc, char** argv) {
  if (const char* const program = argc > 1 ? SiblingOf(argv[1]) : nullptr) {
    return tightfit::cli::RunSiblingProgram(program, argv + 1);
  }
  const bool is_help = argc > 2 && std::strcmp(argv[1], "help") == 0;
  if (const char* const program = is_help ? SiblingOf(argv[2]) : nullptr) {
    char help[] = "--help";
    char* arguments[] = {argv[2], help, nullptr};
    return tightfit::cli::RunSiblingProgram(program, arguments);
  }
  const tightfit::cli::Command command = tightfit::cli::ParseCommandLine(argc, argv);
  if (const auto* exit = std::get_if<tightfit::cli::ExitNow>(&command)) return exit->exit_code;

  // gRPC would tell a failed handshake on stderr too, in words of its own.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  // Before gRPC starts its threads, which inherit the blocked signals.
  const tightfit::cli::InterruptWatcher interrupts;
  return std::visit(
      [&interrupts](const auto& options) {
        if constexpr (std::is_same_v<std::decay_t<decltype(options)>, tightfit::cli::ExitNow>) {
          return options.exit_code;
        } else {
          return tightfit::cli::Run(options, interrupts);
        }
      },
      command);
}

}  // namespace

int main(int argc, char** argv) {
  std::setlocale(LC_CTYPE, "");
  tightfit::cli::GuardStandardStreams();
  return tightfit::cli::EndOfOutput(RunCommandLine(argc, argv));
}
