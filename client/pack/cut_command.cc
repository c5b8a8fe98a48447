#include "client/cli/exit_code.h"
#include "client/cli/measure_text.h"
#include "client/cli/standard_streams.h"
#include "client/cli/table.h"
#include "client/cli/terminal.h"
#include "client/pack/commands.h"
#include "client/pack/long_work.h"
#include "client/pack/pack_json.h"
#include "server/weights/cut_directory.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

namespace tightfit::pack {

int Run(const CutOptions& options, const cli::InterruptWatcher& interrupts) {
  LongWork work(options.shared, interrupts);
  const auto list = CutDirectory(
      {.model = options.shared.model, .out = options.out, .shard_bytes = options.shard_bytes},
      work.progress());
  if (!list.ok()) return work.Fail(list.status());
  work.Finish();
  if (options.shared.json) {
    cli::WriteOutput(CutDocument(options.shared.model, options.out, *list, work.seconds()));
    return cli::kExitOk;
  }
  using cli::Align;
  cli::Table table(
      {{"FILE"}, {"BYTES", Align::kRight}, {"SHARDS", Align::kRight}, {"LARGEST", Align::kRight}});
  for (const CutFile& file : list->files) {
    table.AddRow({{cli::Printable(file.whole.file)},
                  {cli::BytesText(file.whole.bytes)},
                  {std::to_string(file.shards.size())},
                  {cli::BytesText(std::ranges::max(file.shards, {}, &ListedFile::bytes).bytes)}});
  }
  const cli::Terminal terminal(STDOUT_FILENO);
  cli::WriteOutput(table.Render(terminal.style(), terminal.FoldColumns()) +
                   fmt::format("\ncut into {} in {}; whoever downloads it types: tightfit pack "
                               "--join {} --out DIR\n",
                               options.out, cli::DurationText(work.elapsed()), options.out));
  return cli::kExitOk;
}

}  // namespace tightfit::pack
