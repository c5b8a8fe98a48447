// Models as text: what they are and where their bytes went.
#ifndef TIGHTFIT_CLIENT_CLI_MODEL_REPORT_H_
#define TIGHTFIT_CLIENT_CLI_MODEL_REPORT_H_

#include "client/cli/table.h"
#include "client/cli/terminal.h"
#include "client/cpp/server_types.h"

#include <string>
#include <vector>

namespace tightfit::cli {

// The state, in its colour; while loading how far it is.
Cell StateCell(const client::Model& model);

// One line for each model, and the reason below for each that failed. Folded at `width_columns`;
// 0: nowhere.
std::string ModelTable(const std::vector<client::Model>& models, const TextStyle& style,
                       int width_columns = 0);

// Each component's bytes beside its fp16 size, the modules left unpacked and why, memory by
// purpose. Folded as above.
std::string ModelReport(const client::Model& model, const TextStyle& style, int width_columns = 0);

// A line for each layer of each component: how its weight is held and what it takes.
std::string LayerTable(const client::Model& model, const TextStyle& style, int width_columns = 0);

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_MODEL_REPORT_H_
