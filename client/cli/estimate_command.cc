#include "client/cli/commands.h"
#include "client/cli/exit_code.h"
#include "client/cli/json_documents.h"
#include "client/cli/measure_text.h"
#include "client/cli/redraw.h"
#include "client/cli/standard_streams.h"
#include "client/cli/terminal.h"
#include "client/cli/warning_lines.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <string>

namespace tightfit::cli {
namespace {

Json EstimateJson(const client::Estimate& estimate) {
  return {{"parameters", ToJson(estimate.parameters)},
          {"admission", client::AdmissionName(estimate.admission)},
          {"weight_bytes", estimate.weight_bytes},
          {"load_scratch_bytes", estimate.load_scratch_bytes},
          {"denoise_bytes", estimate.denoise_bytes},
          {"decode_bytes", estimate.decode_bytes},
          {"request_bytes", estimate.request_bytes},
          {"is_measured", estimate.is_measured},
          {"free_bytes", estimate.free_bytes},
          {"evictable_bytes", estimate.evictable_bytes},
          {"limit_bytes", estimate.limit_bytes},
          {"evicted_models", estimate.evicted_models},
          {"expected_wait_seconds", std::chrono::duration<double>(estimate.expected_wait).count()},
          {"warnings", ToJson(estimate.warnings)}};
}

std::string AdmissionText(const client::Estimate& estimate) {
  switch (estimate.admission) {
    case client::Admission::kNow:
      if (estimate.evicted_models.empty()) return "at once";
      return fmt::format("once {} is unloaded", fmt::join(estimate.evicted_models, ", "));
    case client::Admission::kLater:
      return "when running requests have ended";
    case client::Admission::kNever:
      return "never: more than the device has beside what is pinned";
    case client::Admission::kUnspecified:
      break;
  }
  return "unknown";
}

std::string EstimateText(const client::Estimate& estimate) {
  std::string text = fmt::format("{} {}x{} px, {}\n", Printable(estimate.parameters.model),
                                 estimate.parameters.width_px, estimate.parameters.height_px,
                                 CountedText(estimate.parameters.image_count, "image"));
  const auto add = [&text](const char* name, const std::string& value) {
    text += fmt::format("  {:<9} {}\n", name, Printable(value));
  };
  if (estimate.is_measured) {
    add("denoise", BytesText(estimate.denoise_bytes));
    add("decode", BytesText(estimate.decode_bytes));
  } else {
    add("request", "not known before the model was loaded once");
  }
  if (estimate.weight_bytes > 0) {
    add("load",
        fmt::format("{} for the weights, {} while they are loaded",
                    BytesText(estimate.weight_bytes), BytesText(estimate.load_scratch_bytes)));
  }
  add("free",
      fmt::format("{} of {}", BytesText(estimate.free_bytes), BytesText(estimate.limit_bytes)) +
          (estimate.evictable_bytes > 0
               ? fmt::format(", and {} of idle models that can be unloaded",
                             BytesText(estimate.evictable_bytes))
               : ""));
  add("starts", AdmissionText(estimate));
  if (estimate.expected_wait.count() > 0)
    add("queue", "about " + DurationText(estimate.expected_wait));
  return text;
}

}  // namespace

int RunEstimate(const GenerateOptions& options, ServerSession& session) {
  const Result<PreparedRequest> prepared = Prepare(options, session);
  if (!prepared.ok()) return session.Fail(prepared.status());
  const TextStyle style = Terminal(STDERR_FILENO).style();
  for (const std::string& note : prepared->notes) SayOnStderr(NoteLine(note, style));
  const Result<client::Estimate> estimate =
      session.client().EstimateImages(prepared->request, session.Call());
  if (!estimate.ok()) return session.Fail(estimate.status());
  for (const client::RequestWarning& warning : estimate->warnings) {
    SayOnStderr(WarningLine(warning, style));
  }
  if (options.shared.json) {
    WriteOutput(Document({{"estimate", EstimateJson(*estimate)}, {"notes", prepared->notes}}));
  } else {
    WriteOutput(EstimateText(*estimate));
  }
  return kExitOk;
}

}  // namespace tightfit::cli
