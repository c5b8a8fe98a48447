// The report for people.
#ifndef TIGHTFIT_CLIENT_WEIGHTS_REPORT_TEXT_H_
#define TIGHTFIT_CLIENT_WEIGHTS_REPORT_TEXT_H_

#include "client/cli/terminal.h"
#include "client/weights/weight_report.h"

#include <string>

namespace tightfit::weights {

// What was measured, the best format of each tensor and class (unless `summary`), every format over
// all tensors, the best mixes.
std::string ReportText(const WeightReport& report, bool summary, const cli::TextStyle& style);

}  // namespace tightfit::weights

#endif  // TIGHTFIT_CLIENT_WEIGHTS_REPORT_TEXT_H_
