// One run: draws the reference, the floors and each format and scope, and measures them.
#ifndef TIGHTFIT_CLIENT_FIDELITY_FIDELITY_RUN_H_
#define TIGHTFIT_CLIENT_FIDELITY_FIDELITY_RUN_H_

#include "client/fidelity/command_line.h"
#include "client/fidelity/contact_sheet.h"
#include "client/fidelity/fidelity_report.h"
#include "server/base/status.h"

#include <functional>
#include <stop_token>
#include <string>

namespace tightfit::fidelity {

struct FidelityResult {
  FidelityReport report;
  RgbImage contact_sheet;
};

// `on_progress(label, done, count)` is called after each image. Once `stop` is asked for, the
// result has the rows that were complete. Errors: what is wrong with the model directory, the
// prompts or the classes; CANCELLED where not even the reference was drawn.
using OnProgress = std::function<void(const std::string& label, int64_t done, int64_t count)>;
Result<FidelityResult> RunFidelity(const FidelityOptions& options, const std::stop_token& stop,
                                   const OnProgress& on_progress);

}  // namespace tightfit::fidelity

#endif  // TIGHTFIT_CLIENT_FIDELITY_FIDELITY_RUN_H_
