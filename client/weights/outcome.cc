#include "client/weights/outcome.h"

#include "client/cli/error_report.h"
#include "client/cli/exit_code.h"
#include "client/cli/standard_streams.h"
#include "client/cli/terminal.h"
#include "client/weights/report_json.h"

#include <fmt/format.h>
#include <unistd.h>

namespace tightfit::weights {

int Fail(const Status& status, bool json) {
  cli::WriteError(cli::ErrorLines(status, cli::Terminal(STDERR_FILENO).style()));
  if (json) cli::WriteOutput(ErrorDocument(status));
  return cli::kExitFailed;
}

int Interrupted(const cli::InterruptWatcher& interrupts) {
  cli::WriteError("interrupted: nothing was written\n");
  return cli::kExitSignalBase + interrupts.signal();
}

}  // namespace tightfit::weights
