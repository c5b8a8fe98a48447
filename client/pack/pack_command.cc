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

#include <algorithm>

namespace tightfit::pack {
namespace {

constexpr size_t kShownModules = 6;

std::string BitsText(int64_t bytes, int64_t weights) {
  if (weights == 0) return "-";
  return fmt::format("{:.2f}", 8.0 * static_cast<double>(bytes) / static_cast<double>(weights));
}

std::string ComponentsTable(const DirectoryPackingReport& report, const cli::Terminal& terminal) {
  using cli::Align;
  cli::Table table({{"COMPONENT"},
                    {"FORMAT"},
                    {"BEFORE", Align::kRight},
                    {"AFTER", Align::kRight},
                    {"SAVED", Align::kRight},
                    {"BITS/WEIGHT", Align::kRight},
                    {"PACKED", Align::kRight}});
  int64_t before_bytes = 0;
  int64_t after_bytes = 0;
  int64_t weights = 0;
  int64_t packed_weights = 0;
  const auto add = [&table](const std::string& name, const std::string& format, int64_t before,
                            int64_t after, int64_t count, int64_t packed) {
    table.AddRow({{name},
                  {format},
                  {cli::BytesText(before)},
                  {cli::BytesText(after)},
                  {cli::SavedText(after, before)},
                  {BitsText(after, count)},
                  {fmt::format("{:.1f} %", 100.0 * static_cast<double>(packed) /
                                               static_cast<double>(std::max<int64_t>(count, 1)))}});
  };
  for (const PackedComponent& component : report.components) {
    const PackedFileReport& file = component.file;
    add(component.name, file.format, component.original_bytes, file.bytes, file.weight_count,
        file.packed_weight_count);
    before_bytes += component.original_bytes;
    after_bytes += file.bytes;
    weights += file.weight_count;
    packed_weights += file.packed_weight_count;
  }
  add("together", "", before_bytes, after_bytes, weights, packed_weights);
  return table.Render(terminal.style(), terminal.FoldColumns());
}

std::string DenseModulesText(const PackedComponent& component) {
  const std::vector<DenseModule>& modules = component.file.dense_modules;
  if (modules.empty()) return {};
  std::string text = fmt::format("\n{}: {} of the scope {} unpacked:\n", component.name,
                                 cli::CountedText(std::ssize(modules), "module"),
                                 modules.size() == 1 ? "stays" : "stay");
  for (size_t i = 0; i < std::min(modules.size(), kShownModules); ++i) {
    text += fmt::format("  {}: {}\n", cli::Printable(modules[i].module), modules[i].why);
  }
  if (modules.size() > kShownModules) {
    text += fmt::format("  and {} more; --json lists all\n", modules.size() - kShownModules);
  }
  return text;
}

}  // namespace

int Run(const PackOptions& options, const cli::InterruptWatcher& interrupts) {
  LongWork work(options.shared, interrupts);
  const auto report = PackDirectory({.model = options.shared.model,
                                     .out = options.out,
                                     .formats = options.formats,
                                     .exclude = options.exclude,
                                     .budget_mib = options.budget_mib,
                                     .min_psnr_db = options.min_psnr_db,
                                     .version = TIGHTFIT_VERSION},
                                    InThreads(options.shared.thread_count), work.progress());
  if (!report.ok()) return work.Fail(report.status());
  work.Finish();
  if (options.shared.json) {
    cli::WriteOutput(PackDocument(options.shared.model, options.out, *report, work.seconds()));
    return cli::kExitOk;
  }
  std::string text = ComponentsTable(*report, cli::Terminal(STDOUT_FILENO));
  for (const PackedComponent& component : report->components) text += DenseModulesText(component);
  if (report->predicted_psnr_db.has_value()) {
    text += fmt::format("\nimages are expected at {:.1f} dB PSNR from those of unpacked weights\n",
                        *report->predicted_psnr_db);
  }
  text += fmt::format("\npacked into {} in {}; BITS/WEIGHT is of all of a component's weights\n",
                      options.out, cli::DurationText(work.elapsed()));
  cli::WriteOutput(text);
  return cli::kExitOk;
}

}  // namespace tightfit::pack
