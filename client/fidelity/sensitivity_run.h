// Packs each layer of a UNet alone, draws, and measures what came apart: what a budget of weights
// is divided by (server/weights/weight_budget.h).
#ifndef TIGHTFIT_CLIENT_FIDELITY_SENSITIVITY_RUN_H_
#define TIGHTFIT_CLIENT_FIDELITY_SENSITIVITY_RUN_H_

#include "client/fidelity/command_line.h"
#include "client/fidelity/fidelity_run.h"
#include "client/fidelity/sensitivity_log.h"
#include "server/base/status.h"
#include "server/weights/sensitivity.h"

#include <stop_token>
#include <string>

namespace tightfit::fidelity {

// Measures what `options.out`/sensitivity.jsonl does not have yet. Errors: what is wrong with the
// model directory, the prompts or that file; CANCELLED once `stop` is asked for: what was measured
// is in the file then.
Result<Sensitivity> MeasureSensitivity(const FidelityOptions& options, const std::stop_token& stop,
                                       const OnProgress& on_progress);

// Writes sensitivity.json into a model directory and lists it in its model.json.
Status StoreSensitivity(const std::string& model_directory, const Sensitivity& sensitivity);

}  // namespace tightfit::fidelity

#endif  // TIGHTFIT_CLIENT_FIDELITY_SENSITIVITY_RUN_H_
