#include "kernels/codec.h"
#include "kernels/codec_reference.h"
#include "tests/unit/kernels/packed_tensor_probe.h"

#include <gtest/gtest.h>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include <bit>
#include <vector>

namespace tightfit {
namespace {

class CodecDecodeTest : public CodecTest {};

// A tensor that cycles through all codes, written by the layout's definition alone.
struct CodedTensor {
  CodedTensor(WeightFormat format, int64_t rows, int64_t columns)
      : layout(LayoutOf(format, rows, columns)), packed(layout.total_bytes) {
    const std::vector<uint16_t> golden = GoldenDecode(format);
    for (int64_t i = 0; i < rows * columns; ++i) {
      const uint64_t code = static_cast<uint64_t>(i) * 7 % golden.size();
      values.push_back(golden[code]);
      Place(i / columns, i % columns, code);
    }
  }

  void Place(int64_t row, int64_t column, uint64_t code) {
    packed[row * layout.low_row_bytes + column] = static_cast<uint8_t>(code % 256);
    const int high_bits = InfoOf(layout.format).high_plane_bits;
    if (high_bits == 0) return;
    const int64_t bytes_of_group = 2 * high_bits;
    const int64_t place = column % 16;
    packed[layout.high_plane_offset_bytes + row * layout.high_row_bytes +
           column / 16 * bytes_of_group + place % bytes_of_group] |=
        static_cast<uint8_t>(code / 256 << place / bytes_of_group * high_bits);
  }

  DecodeRange Everything() const { return {0, layout.rows, 0, layout.columns}; }

  PackedLayout layout;
  std::vector<uint8_t> packed;
  std::vector<uint16_t> values;  // fp16 patterns, row-major
};

CodedTensor EveryCode(WeightFormat format, int64_t columns) {
  const auto codes = static_cast<int64_t>(CodeCount(InfoOf(format)));
  return CodedTensor(format, (codes + columns - 1) / columns, columns);
}

// Rows of 256 take the fast path alone, 37 mixes it with the rests of rows.
constexpr int64_t kColumns[] = {256, 37};

TEST_P(CodecDecodeTest, EqualsTheGoldenTableForEveryCode) {
  for (const int64_t columns : kColumns) {
    const CodedTensor codes = EveryCode(format(), columns);
    std::vector<uint16_t> out(codes.values.size());
    DecodeToFp16(codes.layout, codes.packed.data(), codes.Everything(), out.data());
    for (size_t i = 0; i < out.size(); ++i) {
      ASSERT_EQ(out[i], codes.values[i]) << "weight " << i << ", rows of " << columns;
    }
  }
}

TEST_P(CodecDecodeTest, WidensToFp32ExactlyWithSubnormalsAndTheSignOfZero) {
  for (const int64_t columns : kColumns) {
    const CodedTensor codes = EveryCode(format(), columns);
    std::vector<float> out(codes.values.size());
    DecodeToFp32(codes.layout, codes.packed.data(), codes.Everything(), out.data());
    for (size_t i = 0; i < out.size(); ++i) {
      const float wanted = static_cast<float>(reference::ValueOfFp16(codes.values[i]));
      ASSERT_EQ(std::bit_cast<uint32_t>(out[i]), std::bit_cast<uint32_t>(wanted)) << "weight " << i;
    }
  }
}

TEST_P(CodecDecodeTest, RoundsToBf16AsTheReference) {
  for (const int64_t columns : kColumns) {
    const CodedTensor codes = EveryCode(format(), columns);
    std::vector<uint16_t> out(codes.values.size());
    DecodeToBf16(codes.layout, codes.packed.data(), codes.Everything(), out.data());
    for (size_t i = 0; i < out.size(); ++i) {
      ASSERT_EQ(out[i], reference::Bf16OfFp16(codes.values[i])) << "weight " << i;
      if (info().exact_in_bf16) {
        const float value = std::bit_cast<float>(static_cast<uint32_t>(out[i]) << 16);
        ASSERT_EQ(value, reference::ValueOfFp16(codes.values[i])) << "weight " << i;
      }
    }
  }
}

#if defined(__SSE2__)
// Inference may run with denormals flushed to zero; weights must not depend on it.
TEST_P(CodecDecodeTest, KeepsSubnormalsWhereTheThreadFlushesThem) {
  const CodedTensor codes = EveryCode(format(), 37);
  std::vector<float> fp32(codes.values.size());
  std::vector<uint16_t> bf16(codes.values.size());
  constexpr unsigned kFlushToZeroAndDenormalsAreZero = 0x8040;
  const unsigned control = _mm_getcsr();
  _mm_setcsr(control | kFlushToZeroAndDenormalsAreZero);
  DecodeToFp32(codes.layout, codes.packed.data(), codes.Everything(), fp32.data());
  DecodeToBf16(codes.layout, codes.packed.data(), codes.Everything(), bf16.data());
  _mm_setcsr(control);
  for (size_t i = 0; i < fp32.size(); ++i) {
    ASSERT_EQ(fp32[i], reference::ValueOfFp16(codes.values[i])) << "weight " << i;
    ASSERT_EQ(bf16[i], reference::Bf16OfFp16(codes.values[i])) << "weight " << i;
  }
}
#endif

// Decodes columns [first, first + count) of the middle rows in every type, to memory that begins in
// the middle of a vector.
void ExpectRange(const CodedTensor& tensor, int64_t first, int64_t count) {
  constexpr int64_t kFirstRow = 1;
  const int64_t rows = tensor.layout.rows - 2;
  const DecodeRange range{kFirstRow, rows, first, count};
  Guarded<uint16_t> fp16(rows * count, first % 5);
  Guarded<uint16_t> bf16(rows * count, first % 3);
  Guarded<float> fp32(rows * count, first % 7);
  DecodeToFp16(tensor.layout, tensor.packed.data(), range, fp16.begin());
  DecodeToBf16(tensor.layout, tensor.packed.data(), range, bf16.begin());
  DecodeToFp32(tensor.layout, tensor.packed.data(), range, fp32.begin());
  for (int64_t i = 0; i < rows * count; ++i) {
    const uint16_t wanted =
        tensor.values[(kFirstRow + i / count) * tensor.layout.columns + first + i % count];
    ASSERT_EQ(fp16[i], wanted) << i;
    ASSERT_EQ(bf16[i], reference::Bf16OfFp16(wanted)) << i;
    ASSERT_EQ(fp32[i], reference::ValueOfFp16(wanted)) << i;
  }
  ASSERT_TRUE(fp16.GuardsIntact());
  ASSERT_TRUE(bf16.GuardsIntact());
  ASSERT_TRUE(fp32.GuardsIntact());
}

TEST_P(CodecDecodeTest, DecodesRowsOfAnyLengthAndWritesNothingBeside) {
  for (int64_t columns = 0; columns <= 67; ++columns) {
    SCOPED_TRACE(testing::Message() << columns << " columns");
    ExpectRange(CodedTensor(format(), 5, columns), 0, columns);
    if (HasFatalFailure()) return;
  }
}

TEST_P(CodecDecodeTest, DecodesEveryColumnRange) {
  // Beyond two vectors of 64 weights and not a multiple of a group.
  const CodedTensor tensor(format(), 4, 139);
  for (int64_t first = 0; first <= 139; ++first) {
    for (int64_t count = 0; first + count <= 139; ++count) {
      SCOPED_TRACE(testing::Message() << "columns " << first << " + " << count);
      ExpectRange(tensor, first, count);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(CodecDecodeRangeDeathTest, StopsAtARangeOutsideTheTensor) {
  const CodedTensor tensor(WeightFormat::kHf10, 2, 16);
  uint16_t out[64];
  EXPECT_DEATH(DecodeToFp16(tensor.layout, tensor.packed.data(), {1, 2, 0, 16}, out), "");
  EXPECT_DEATH(DecodeToFp16(tensor.layout, tensor.packed.data(), {0, 1, 1, 16}, out), "");
  EXPECT_DEATH(DecodeToFp16(tensor.layout, tensor.packed.data(), {-1, 1, 0, 16}, out), "");
}

INSTANTIATE_TEST_SUITE_P(FormatsAndSimdTargets, CodecDecodeTest,
                         testing::Combine(testing::ValuesIn(HfFormats()),
                                          testing::ValuesIn(AllSimdTargets())),
                         CodecTestName);

}  // namespace
}  // namespace tightfit
