// The JSON documents of --json. Their keys are described in JSON.md and stay.
#ifndef TIGHTFIT_CLIENT_WEIGHTS_REPORT_JSON_H_
#define TIGHTFIT_CLIENT_WEIGHTS_REPORT_JSON_H_

#include "client/weights/weight_report.h"
#include "server/base/status.h"

#include <string>

namespace tightfit::weights {

// Indented, each with a newline at the end. Bytes that are not UTF-8 are replaced.
std::string ReportDocument(const WeightReport& report, bool summary);
std::string FormatsDocument();
std::string ErrorDocument(const Status& error);

}  // namespace tightfit::weights

#endif  // TIGHTFIT_CLIENT_WEIGHTS_REPORT_JSON_H_
