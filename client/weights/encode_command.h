// `tightfit-weights encode`: raw fp16 weights into a file of one packed tensor.
#ifndef TIGHTFIT_CLIENT_WEIGHTS_ENCODE_COMMAND_H_
#define TIGHTFIT_CLIENT_WEIGHTS_ENCODE_COMMAND_H_

#include "client/cli/interrupt_watcher.h"
#include "client/weights/command_line.h"
#include "kernels/codec.h"
#include "server/base/status.h"

#include <string>

namespace tightfit::weights {

// Returns the exit code.
int Run(const EncodeOptions& options, const cli::InterruptWatcher& interrupts);

// NOT_REPRESENTABLE: what of `input` the format refuses, with counts, and what to do. `why` is not
// ok.
Status NotRepresentable(const std::string& input, const FormatInfo& info,
                        const Representability& why);

}  // namespace tightfit::weights

#endif  // TIGHTFIT_CLIENT_WEIGHTS_ENCODE_COMMAND_H_
