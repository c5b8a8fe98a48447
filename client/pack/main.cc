// The `tightfit-pack` program, which `tightfit pack` starts: it links the server's weights, the
// rest of `tightfit` does not.
#include "client/cli/exit_code.h"
#include "client/cli/interrupt_watcher.h"
#include "client/cli/standard_streams.h"
#include "client/pack/command_line.h"
#include "client/pack/commands.h"

#include <clocale>
#include <new>
#include <type_traits>
#include <variant>

namespace {

int RunCommand(const tightfit::pack::Command& command) {
  if (const auto* exit = std::get_if<tightfit::pack::ExitNow>(&command)) return exit->exit_code;
  // Before any other thread, which inherits the blocked signals.
  const tightfit::cli::InterruptWatcher interrupts;
  return std::visit(
      [&interrupts](const auto& options) {
        if constexpr (std::is_same_v<std::decay_t<decltype(options)>, tightfit::pack::ExitNow>) {
          return options.exit_code;
        } else {
          return tightfit::pack::Run(options, interrupts);
        }
      },
      command);
}

}  // namespace

int main(int argc, char** argv) {
  std::setlocale(LC_CTYPE, "");
  tightfit::cli::GuardStandardStreams();
  try {
    return tightfit::cli::EndOfOutput(RunCommand(tightfit::pack::ParseCommandLine(argc, argv)));
  } catch (const std::bad_alloc&) {
    tightfit::cli::WriteError("error: there is not enough memory for the largest tensor\n");
    return tightfit::cli::kExitFailed;
  }
}
