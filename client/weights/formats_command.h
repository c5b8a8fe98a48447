// `tightfit-weights formats`: the table of formats.
#ifndef TIGHTFIT_CLIENT_WEIGHTS_FORMATS_COMMAND_H_
#define TIGHTFIT_CLIENT_WEIGHTS_FORMATS_COMMAND_H_

#include "client/weights/command_line.h"

namespace tightfit::weights {

// Returns the exit code.
int Run(const FormatsOptions& options);

}  // namespace tightfit::weights

#endif  // TIGHTFIT_CLIENT_WEIGHTS_FORMATS_COMMAND_H_
