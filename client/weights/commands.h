// The commands of `tightfit-weights`: each does what its options ask, and returns the exit code.
// main.cc chooses among them; each has a file of its own.
#ifndef TIGHTFIT_CLIENT_WEIGHTS_COMMANDS_H_
#define TIGHTFIT_CLIENT_WEIGHTS_COMMANDS_H_

#include "client/cli/interrupt_watcher.h"
#include "client/weights/command_line.h"

namespace tightfit::weights {

// Raw fp16 weights into a file of one packed tensor.
int Run(const EncodeOptions& options, const cli::InterruptWatcher& interrupts);
// The way back.
int Run(const DecodeOptions& options, const cli::InterruptWatcher& interrupts);
// What each format would make of a model's weights.
int Run(const ReportOptions& options, const cli::InterruptWatcher& interrupts);
// The table of formats.
int Run(const FormatsOptions& options);

}  // namespace tightfit::weights

#endif  // TIGHTFIT_CLIENT_WEIGHTS_COMMANDS_H_
