#include "client/cli/exit_code.h"
#include "client/cli/standard_streams.h"
#include "client/cli/table.h"
#include "client/cli/terminal.h"
#include "client/weights/commands.h"
#include "client/weights/number_text.h"
#include "client/weights/report_json.h"
#include "client/weights/weight_report.h"
#include "kernels/format.h"

#include <fmt/format.h>
#include <unistd.h>

namespace tightfit::weights {

int Run(const FormatsOptions& options) {
  if (options.json) {
    cli::WriteOutput(FormatsDocument());
    return cli::kExitOk;
  }
  using cli::Align;
  cli::Table table({{"FORMAT"},
                    {"CODE BITS", Align::kRight},
                    {"BITS/WEIGHT", Align::kRight},
                    {"SCALE"},
                    {"LARGEST", Align::kRight},
                    {"EXACT IN BF16"}});
  for (const FormatInfo& info : kFormats) {
    table.AddRow({{std::string(info.name)},
                  {fmt::format("{:.4g}", info.bits)},
                  {fmt::format("{:.3f}", BitsPerWeightOfSquare(info.format))},
                  {std::string(ScalingText(info.scaling))},
                  {LargestText(info)},
                  {info.exact_in_bf16 ? "yes" : "no"}});
  }
  cli::WriteOutput(
      fmt::format("{}\nBITS/WEIGHT is what {}x{} weights really take, scales included.\n",
                  table.Render(cli::Terminal(STDOUT_FILENO).style()), kSquareSide, kSquareSide));
  return cli::kExitOk;
}

}  // namespace tightfit::weights
