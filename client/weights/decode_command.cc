#include "client/cli/exit_code.h"
#include "client/cli/measure_text.h"
#include "client/cli/standard_streams.h"
#include "client/weights/commands.h"
#include "client/weights/number_text.h"
#include "client/weights/outcome.h"
#include "client/weights/output_file.h"
#include "client/weights/packed_file.h"
#include "client/weights/work_progress.h"
#include "kernels/codec.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <vector>

namespace tightfit::weights {
namespace {

constexpr int64_t kPieceWeights = 1 << 20;

// Weights of `range`, as bytes of the type.
void DecodePiece(const PackedTensor& tensor, const DecodeRange& range, DecodedType type,
                 std::vector<uint8_t>* bytes) {
  const PackedLayout& layout = tensor.header.layout;
  const uint8_t* const packed = tensor.bytes.data();
  const auto count = static_cast<size_t>(range.row_count * range.column_count);
  bytes->resize(count * (type == DecodedType::kFp32 ? 4 : 2));
  switch (type) {
    case DecodedType::kFp16:
      DecodeToFp16(layout, packed, range, reinterpret_cast<uint16_t*>(bytes->data()));
      break;
    case DecodedType::kBf16:
      DecodeToBf16(layout, packed, range, reinterpret_cast<uint16_t*>(bytes->data()));
      break;
    case DecodedType::kFp32:
      DecodeToFp32(layout, packed, range, reinterpret_cast<float*>(bytes->data()));
      break;
  }
}

// Row after row, in pieces, so that memory holds the packed tensor and little more.
Status WriteDecoded(const PackedTensor& tensor, const DecodeOptions& options,
                    const cli::InterruptWatcher& interrupts, OutputFile& file) {
  const PackedLayout& layout = tensor.header.layout;
  const int64_t piece_columns = std::min(layout.columns, kPieceWeights);
  const int64_t piece_rows = std::max<int64_t>(1, kPieceWeights / piece_columns);
  WorkProgress progress = WorkProgress::OnStderr(options.quiet);
  std::vector<uint8_t> bytes;
  for (int64_t row = 0; row < layout.rows; row += piece_rows) {
    for (int64_t column = 0; column < layout.columns; column += piece_columns) {
      if (interrupts.signal() != 0) return OkStatus();
      const DecodeRange range{row, std::min(piece_rows, layout.rows - row), column,
                              std::min(piece_columns, layout.columns - column)};
      DecodePiece(tensor, range, options.type, &bytes);
      TF_RETURN_IF_ERROR(file.Write(bytes.data(), bytes.size()));
      const double share = static_cast<double>(row * layout.columns + column) /
                           static_cast<double>(layout.rows * layout.columns);
      progress.Show("decode", static_cast<int64_t>(100 * share), 100, share);
    }
  }
  return OkStatus();
}

}  // namespace

int Run(const DecodeOptions& options, const cli::InterruptWatcher& interrupts) {
  auto file = OutputFile::Create(options.output, options.input);
  if (!file.ok()) return Fail(file.status());
  const Result<PackedTensor> tensor = ReadPackedFile(options.input);
  if (!tensor.ok()) return Fail(tensor.status());

  Status written = WriteDecoded(*tensor, options, interrupts, **file);
  if (interrupts.signal() != 0) return Interrupted(interrupts);
  if (written.ok()) written = (*file)->Commit();
  if (!written.ok()) return Fail(written);
  if (!options.quiet) {
    constexpr std::string_view kTypeNames[] = {"fp16", "bf16", "fp32"};
    const PackedHeader& header = tensor->header;
    cli::WriteError(fmt::format(
        "{}: {} from {}, {}\n", cli::Printable(options.output),
        kTypeNames[static_cast<size_t>(options.type)], InfoOf(header.layout.format).name,
        ShapeText(std::span<const int64_t>(header.shape).first(static_cast<size_t>(header.rank)))));
  }
  return cli::kExitOk;
}

}  // namespace tightfit::weights
