#include "client/cli/exit_code.h"
#include "client/cli/measure_text.h"
#include "client/cli/standard_streams.h"
#include "client/pack/commands.h"
#include "client/pack/long_work.h"
#include "client/pack/pack_json.h"
#include "server/weights/cut_directory.h"

#include <fmt/format.h>

namespace tightfit::pack {

int Run(const JoinOptions& options, const cli::InterruptWatcher& interrupts) {
  LongWork work(options.shared, interrupts);
  const auto report =
      JoinDirectory({.directory = options.shared.model, .out = options.out}, work.progress());
  if (!report.ok()) return work.Fail(report.status());
  work.Finish();
  if (options.shared.json) {
    cli::WriteOutput(JoinDocument(options.shared.model, options.out, *report, work.seconds()));
    return cli::kExitOk;
  }
  int64_t shard_count = 0;
  for (const CutFile& file : report->files) shard_count += std::ssize(file.shards);
  cli::WriteOutput(fmt::format("joined {} of {} into {} in {}: all as model.json says\n",
                               cli::CountedText(shard_count, "shard"),
                               cli::CountedText(std::ssize(report->files), "file"), options.out,
                               cli::DurationText(work.elapsed())));
  return cli::kExitOk;
}

}  // namespace tightfit::pack
