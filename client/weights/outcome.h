// How a command ends that does not end well.
#ifndef TIGHTFIT_CLIENT_WEIGHTS_OUTCOME_H_
#define TIGHTFIT_CLIENT_WEIGHTS_OUTCOME_H_

#include "client/cli/interrupt_watcher.h"
#include "server/base/status.h"

namespace tightfit::weights {

// A line on stderr, with `json` a document with the key `error` on stdout. Returns the exit code.
int Fail(const Status& status, bool json = false);

// After Ctrl-C. Returns the exit code.
int Interrupted(const cli::InterruptWatcher& interrupts);

}  // namespace tightfit::weights

#endif  // TIGHTFIT_CLIENT_WEIGHTS_OUTCOME_H_
