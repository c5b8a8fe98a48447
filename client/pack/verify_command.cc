#include "client/cli/exit_code.h"
#include "client/cli/measure_text.h"
#include "client/cli/standard_streams.h"
#include "client/cli/terminal.h"
#include "client/pack/commands.h"
#include "client/pack/long_work.h"
#include "client/pack/pack_json.h"
#include "server/weights/directory_check.h"

#include <fmt/format.h>

namespace tightfit::pack {

int Run(const VerifyOptions& options, const cli::InterruptWatcher& interrupts) {
  LongWork work(options.shared, interrupts);
  const auto report =
      CheckDirectory(options.shared.model, options.shared.thread_count, work.progress());
  if (!report.ok()) return work.Fail(report.status());
  work.Finish();
  const int exit_code = report->damaged.empty() ? cli::kExitOk : cli::kExitFailed;
  if (options.shared.json) {
    cli::WriteOutput(VerifyDocument(options.shared.model, *report, work.seconds()));
    return exit_code;
  }
  std::string text;
  for (const DamagedPart& part : report->damaged) {
    text += "damaged: " + cli::Printable(part.status.message()) + "\n";
  }
  std::string what = cli::CountedText(report->file_count, "file");
  if (report->tensor_count > 0) {
    what += " and the " + cli::CountedText(report->tensor_count, "tensor") + " of packed ones";
  }
  what +=
      fmt::format(", {}, in {}", cli::BytesText(report->bytes), cli::DurationText(work.elapsed()));
  text +=
      report->damaged.empty()
          ? fmt::format("{}: {}: all as model.json says\n", options.shared.model, what)
          : fmt::format("{}: {}: {} damaged\n", options.shared.model, what, report->damaged.size());
  cli::WriteOutput(text);
  return exit_code;
}

}  // namespace tightfit::pack
