#include "server/telemetry/request_log.h"

#include "server/telemetry/logging.h"
#include "server/telemetry/status_code_name.h"

namespace tightfit {
namespace {

LogLevel LevelOf(const RequestRecord& record) {
  switch (record.status.code()) {
    case StatusCode::kOk:
      return record.method == "StreamImages" || record.method == "GenerateImages"
                 ? LogLevel::kInfo
                 : LogLevel::kDebug;
    case StatusCode::kResourceExhausted:
    case StatusCode::kUnavailable:
      return LogLevel::kWarning;
    case StatusCode::kUnknown:
    case StatusCode::kInternal:
    case StatusCode::kDataLoss:
      return LogLevel::kError;
    default:
      return LogLevel::kInfo;
  }
}

// "width_px,sampler"; the values that were refused are the client's and stay out of the log.
std::string FieldsOf(const Status& status) {
  std::string fields;
  for (const FieldViolation& violation : status.field_violations()) {
    fields += (fields.empty() ? "" : ",") + violation.field;
  }
  return fields;
}

}  // namespace

void RequestLog::OnRequestRecord(const RequestRecord& record) {
  const LogLevel level = LevelOf(record);
  const double seconds = std::chrono::duration<double>(record.duration).count();
  if (record.status.ok()) {
    Log(level, "request finished",
        {{"request_id", record.request_id},
         {"method", record.method},
         {"model", record.model},
         {"caller", record.caller},
         {"code", "OK"},
         {"duration_seconds", seconds},
         {"width_px", int64_t{record.width_px}},
         {"height_px", int64_t{record.height_px}},
         {"step_count", int64_t{record.step_count}},
         {"image_count", int64_t{record.image_count}}});
    return;
  }
  // A message about bad arguments may quote what the client sent; the fields' names say enough.
  const std::string error = record.status.code() == StatusCode::kInvalidArgument
                                ? FieldsOf(record.status)
                                : record.status.ForLog();
  Log(level, "request failed",
      {{"request_id", record.request_id},
       {"method", record.method},
       {"model", record.model},
       {"caller", record.caller},
       {"code", StatusCodeName(record.status.code())},
       {"reason", record.status.reason()},
       {"error", error},
       {"duration_seconds", seconds}});
}

void RequestLog::OnConnections(const ConnectionCounts& counts) {
  connection_log_.OnConnections(counts);
}

}  // namespace tightfit
