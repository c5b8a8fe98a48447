#include "client/cli/exit_code.h"
#include "client/cli/measure_text.h"
#include "client/cli/standard_streams.h"
#include "client/cli/table.h"
#include "client/cli/terminal.h"
#include "client/pack/commands.h"
#include "client/pack/long_work.h"
#include "client/pack/pack_json.h"
#include "server/weights/packed_directory.h"

#include <fmt/format.h>
#include <unistd.h>

namespace tightfit::pack {

int Run(const UnpackOptions& options, const cli::InterruptWatcher& interrupts) {
  LongWork work(options.shared, interrupts);
  const auto report = UnpackDirectory(options.shared.model, options.out,
                                      InThreads(options.shared.thread_count), work.progress());
  if (!report.ok()) return work.Fail(report.status());
  work.Finish();
  if (options.shared.json) {
    cli::WriteOutput(UnpackDocument(options.shared.model, options.out, *report, work.seconds()));
    return cli::kExitOk;
  }
  using cli::Align;
  cli::Table table({{"COMPONENT"},
                    {"FORMAT"},
                    {"BEFORE", Align::kRight},
                    {"AFTER", Align::kRight},
                    {"WEIGHTS"}});
  for (const UnpackedComponent& component : report->components) {
    table.AddRow({{component.name},
                  {component.format},
                  {cli::BytesText(component.packed_bytes)},
                  {cli::BytesText(component.bytes)},
                  {component.is_original ? "the original's" : "decoded, not the original's"}});
  }
  const cli::Terminal terminal(STDOUT_FILENO);
  std::string text = table.Render(terminal.style(), terminal.FoldColumns());
  text += fmt::format("\nunpacked into {} in {}\n", options.out, cli::DurationText(work.elapsed()));
  text += report->is_original()
              ? "Every weight file is the original's, bit for bit.\n"
              : fmt::format(
                    "It is not the original: what packing lost stays lost. Its hash is {}, "
                    "the original's {}.\n",
                    report->hash.substr(0, 10), report->original_hash.substr(0, 10));
  cli::WriteOutput(text);
  return cli::kExitOk;
}

}  // namespace tightfit::pack
