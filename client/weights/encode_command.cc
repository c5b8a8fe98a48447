#include "client/cli/exit_code.h"
#include "client/cli/measure_text.h"
#include "client/cli/standard_streams.h"
#include "client/weights/commands.h"
#include "client/weights/input_file.h"
#include "client/weights/number_text.h"
#include "client/weights/outcome.h"
#include "client/weights/output_file.h"
#include "client/weights/packed_file.h"
#include "client/weights/parallel_work.h"
#include "client/weights/weight_report.h"
#include "client/weights/work_progress.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

namespace tightfit::weights {
namespace {

// All of a file that must be as large as the shape makes it.
Result<LoadedTensor> ReadRawFp16(const EncodeOptions& options) {
  const auto size = PackedRowsAndColumns(options.shape);
  if (!size.has_value()) return InvalidArgument("the shape is too large");
  LoadedTensor tensor{.rows = size->rows, .columns = size->columns};
  const int64_t bytes = tensor.rows * tensor.columns * 2;
  TF_ASSIGN_OR_RETURN(const std::unique_ptr<FileReader> file, OpenInput(options.input));
  if (file->size_bytes() != bytes) {
    return Status(StatusCode::kInvalidArgument, "WRONG_SIZE",
                  fmt::format("{}: the file has {} bytes, but fp16 weights of shape {} take {}; is "
                              "--shape right, and the file without a header?",
                              options.input, cli::CountText(file->size_bytes()),
                              ShapeText(options.shape), cli::CountText(bytes)));
  }
  tensor.fp16.resize(static_cast<size_t>(tensor.rows * tensor.columns));
  if (Status read = file->ReadAt(0, bytes, tensor.fp16.data()); !read.ok()) {
    return AsInputError(read);
  }
  return tensor;
}

// The format of about as many bits that takes the tensor, tried on it; nullopt where none of fewer
// than 16 bits does.
std::optional<std::string_view> FormatThatHolds(const LoadedTensor& tensor,
                                                const FormatInfo& refused,
                                                const ParallelFor& parallel_for) {
  std::vector<FormatInfo> others;
  for (const FormatInfo& info : kFormats) {
    // fp8 takes everything and cuts what is too large.
    const bool cuts = info.family == FormatFamily::kFp8;
    if (info.format != refused.format && info.bits < 16 && !cuts) others.push_back(info);
  }
  std::stable_sort(others.begin(), others.end(), [&](const FormatInfo& a, const FormatInfo& b) {
    return std::abs(a.bits - refused.bits) < std::abs(b.bits - refused.bits);
  });
  for (const FormatInfo& info : others) {
    const EncodingPlan plan =
        PlanEncoding(info.format, tensor.rows, tensor.columns, tensor.fp16.data(), parallel_for);
    if (plan.representability.ok()) return info.name;
  }
  return std::nullopt;
}

void PrintSummary(const EncodeOptions& options, const PackedLayout& layout,
                  const Distortion& distortion) {
  std::string line = fmt::format(
      "{}: {} {}, {}, {:.3f} bits a weight, {}", options.output, InfoOf(layout.format).name,
      ShapeText(options.shape), cli::BytesText(kPackedHeaderBytes + layout.total_bytes),
      BitsPerWeight(layout.total_bytes, layout.rows * layout.columns), SqnrText(distortion));
  if (InfoOf(layout.format).scaling == Scaling::kTensor) {
    line += fmt::format(", exponent bias {}, side list of {}", layout.exponent_bias,
                        cli::CountText(layout.side_count));
  }
  cli::WriteError(fmt::format("{}\n", cli::Printable(line)));
}

Status NotRepresentable(const std::string& input, const FormatInfo& info,
                        const Representability& why, const LoadedTensor& tensor,
                        const ParallelFor& parallel_for) {
  std::vector<std::string> counts;
  if (why.nan_count > 0) counts.push_back(fmt::format("{} NaN", cli::CountText(why.nan_count)));
  if (why.infinity_count > 0) {
    counts.push_back(fmt::format("{} infinite", cli::CountText(why.infinity_count)));
  }
  if (why.out_of_range_count > 0) {
    counts.push_back(fmt::format("{} too large", cli::CountText(why.out_of_range_count)));
  }
  std::string advice = "no format holds NaN and infinity, so look where the weights come from";
  if (why.nan_count + why.infinity_count == 0) {
    const std::optional<std::string_view> other = FormatThatHolds(tensor, info, parallel_for);
    advice = other.has_value() ? fmt::format("{} can", *other)
                               : "no smaller format can, so leave it in fp16";
  }
  return {StatusCode::kFailedPrecondition, "NOT_REPRESENTABLE",
          fmt::format("{}: {} cannot hold it: {} (largest {}); {}", input, info.name,
                      fmt::join(counts, ", "), LargestText(info), advice)};
}

}  // namespace

int Run(const EncodeOptions& options, const cli::InterruptWatcher& interrupts) {
  auto file = OutputFile::Create(options.output, options.input);
  if (!file.ok()) return Fail(file.status());
  const Result<LoadedTensor> tensor = ReadRawFp16(options);
  if (!tensor.ok()) return Fail(tensor.status());

  WorkProgress progress = WorkProgress::OnStderr(options.quiet);
  const auto work = [&](const char* label) {
    return Interruptible(InThreads(options.thread_count), interrupts.token(),
                         [&progress, label](int64_t done, int64_t count) {
                           const double share =
                               static_cast<double>(done) / static_cast<double>(count);
                           progress.Show(label, static_cast<int64_t>(100 * share), 100, share);
                         });
  };
  const EncodingPlan plan = PlanEncoding(options.format, tensor->rows, tensor->columns,
                                         tensor->fp16.data(), work("plan"));
  if (interrupts.signal() != 0) return Interrupted(interrupts);
  if (!plan.representability.ok()) {
    const Status refused = NotRepresentable(options.input, InfoOf(options.format),
                                            plan.representability, *tensor, work("look around"));
    return interrupts.signal() != 0 ? Interrupted(interrupts) : Fail(refused);
  }
  std::vector<uint8_t> packed(static_cast<size_t>(plan.layout.total_bytes));
  EncodeTensor(plan.layout, tensor->fp16.data(), packed.data(), work("encode"));
  const Distortion distortion = MeasurePacked(plan.layout, packed.data(), *tensor, work("compare"));
  progress.Finish();
  if (interrupts.signal() != 0) return Interrupted(interrupts);

  Status written = WritePackedTensor(options.shape, plan.layout, packed, **file);
  if (interrupts.signal() != 0) return Interrupted(interrupts);
  if (written.ok()) written = (*file)->Commit();
  if (!written.ok()) return Fail(written);
  if (!options.quiet) PrintSummary(options, plan.layout, distortion);
  return cli::kExitOk;
}

}  // namespace tightfit::weights
