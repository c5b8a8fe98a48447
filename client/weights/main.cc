// The `tightfit-weights` command.
#include "client/cli/exit_code.h"
#include "client/cli/interrupt_watcher.h"
#include "client/cli/standard_streams.h"
#include "client/weights/command_line.h"
#include "client/weights/commands.h"

#include <clocale>
#include <cstdio>
#include <new>
#include <type_traits>
#include <variant>

namespace {

int RunCommand(const tightfit::weights::Command& command) {
  using namespace tightfit::weights;
  if (const auto* exit = std::get_if<ExitNow>(&command)) return exit->exit_code;
  if (const auto* formats = std::get_if<FormatsOptions>(&command)) return Run(*formats);

  // Before any other thread, which inherits the blocked signals.
  const tightfit::cli::InterruptWatcher interrupts;
  if (const auto* encode = std::get_if<EncodeOptions>(&command)) return Run(*encode, interrupts);
  if (const auto* decode = std::get_if<DecodeOptions>(&command)) return Run(*decode, interrupts);
  return Run(std::get<ReportOptions>(command), interrupts);
}

}  // namespace

int main(int argc, char** argv) {
  std::setlocale(LC_CTYPE, "");
  tightfit::cli::GuardStandardStreams();
  const auto command = tightfit::weights::ParseCommandLine(argc, argv);
  try {
    return tightfit::cli::EndOfOutput(RunCommand(command));
  } catch (const std::bad_alloc&) {  // tensors are as large as their files say
    std::fputs("error: not enough memory for this tensor [OUT_OF_MEMORY]\n", stderr);
    return tightfit::cli::kExitFailed;
  }
}
