#include "client/cli/exit_code.h"
#include "client/cli/standard_streams.h"
#include "client/cli/terminal.h"
#include "client/weights/commands.h"
#include "client/weights/input_file.h"
#include "client/weights/outcome.h"
#include "client/weights/parallel_work.h"
#include "client/weights/report_json.h"
#include "client/weights/report_text.h"
#include "client/weights/weight_report.h"
#include "client/weights/work_progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <utility>

namespace tightfit::weights {
namespace {

// One tensor in memory at a time.
Result<WeightReport> Measure(const ReportOptions& options, const SafetensorsFile& file,
                             const cli::InterruptWatcher& interrupts) {
  WeightReport report{.file = options.input,
                      .scope = options.filter.scope,
                      .choice = ChooseTensors(file.tensors(), options.filter),
                      .formats = options.formats,
                      .bits = options.bits};
  if (report.choice.tensors.empty()) {
    return Status(StatusCode::kNotFound, "NO_TENSORS",
                  fmt::format("{}: none of its {} tensors is a matrix or a convolution within "
                              "--scope {} and --name {}",
                              options.input, file.tensors().size(), options.filter.scope,
                              options.filter.name_pattern));
  }
  int64_t weight_count = 0;
  for (const StoredTensor& tensor : report.choice.tensors) weight_count += tensor.element_count;
  const double work_count =
      static_cast<double>(weight_count) * static_cast<double>(options.formats.size());

  const ParallelFor parallel_for =
      Interruptible(InThreads(options.thread_count), interrupts.token());
  WorkProgress progress = WorkProgress::OnStderr(options.quiet);
  double done = 0;
  for (const StoredTensor& tensor : report.choice.tensors) {
    TF_ASSIGN_OR_RETURN(const LoadedTensor loaded, LoadTensor(file, tensor));
    TensorCost cost{.tensor = tensor};
    for (const WeightFormat format : options.formats) {
      progress.Show("measure", static_cast<int64_t>(report.tensors.size()),
                    static_cast<int64_t>(report.choice.tensors.size()), done / work_count);
      cost.formats.push_back(MeasureFormat(format, loaded, parallel_for, interrupts.token()));
      if (interrupts.signal() != 0) return report;
      done += static_cast<double>(tensor.element_count);
    }
    report.tensors.push_back(std::move(cost));
  }
  return report;
}

}  // namespace

int Run(const ReportOptions& options, const cli::InterruptWatcher& interrupts) {
  const auto file = OpenSafetensors(options.input);
  if (!file.ok()) return Fail(file.status(), options.json);
  const Result<WeightReport> report = Measure(options, **file, interrupts);
  if (interrupts.signal() != 0) return Interrupted(interrupts);
  if (!report.ok()) return Fail(report.status(), options.json);
  if (options.json) {
    cli::WriteOutput(ReportDocument(*report, options.summary));
  } else {
    const cli::TextStyle style = cli::Terminal(STDOUT_FILENO).style();
    cli::WriteOutput(ReportText(*report, options.summary, style));
  }
  return cli::kExitOk;
}

}  // namespace tightfit::weights
