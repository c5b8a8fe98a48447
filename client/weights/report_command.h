// `tightfit-weights report`: what each format would make of a model's weights.
#ifndef TIGHTFIT_CLIENT_WEIGHTS_REPORT_COMMAND_H_
#define TIGHTFIT_CLIENT_WEIGHTS_REPORT_COMMAND_H_

#include "client/cli/interrupt_watcher.h"
#include "client/weights/command_line.h"

namespace tightfit::weights {

// Returns the exit code.
int Run(const ReportOptions& options, const cli::InterruptWatcher& interrupts);

}  // namespace tightfit::weights

#endif  // TIGHTFIT_CLIENT_WEIGHTS_REPORT_COMMAND_H_
