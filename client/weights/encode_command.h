// `tightfit-weights encode`: raw fp16 weights into a file of one packed tensor.
#ifndef TIGHTFIT_CLIENT_WEIGHTS_ENCODE_COMMAND_H_
#define TIGHTFIT_CLIENT_WEIGHTS_ENCODE_COMMAND_H_

#include "client/cli/interrupt_watcher.h"
#include "client/weights/command_line.h"

namespace tightfit::weights {

// Returns the exit code.
int Run(const EncodeOptions& options, const cli::InterruptWatcher& interrupts);

}  // namespace tightfit::weights

#endif  // TIGHTFIT_CLIENT_WEIGHTS_ENCODE_COMMAND_H_
