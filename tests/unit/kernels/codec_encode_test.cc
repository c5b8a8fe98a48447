#include "kernels/codec.h"
#include "tests/unit/kernels/packed_tensor_probe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>
#include <vector>

namespace tightfit {
namespace {

class CodecEncodeTest : public CodecTest {};

TEST_P(CodecEncodeTest, EqualsTheGoldenTableForEveryRepresentablePattern) {
  const std::vector<uint16_t> golden = GoldenEncode(format());
  const std::vector<uint16_t> patterns = RepresentablePatterns(format());
  // One long row, and short ones whose last vectors are never full.
  for (const int64_t columns : {static_cast<int64_t>(patterns.size()), int64_t{23}}) {
    std::vector<uint16_t> fp16 = patterns;
    fp16.resize((fp16.size() + columns - 1) / columns * columns);
    const auto rows = static_cast<int64_t>(fp16.size()) / columns;
    const PackedLayout layout = LayoutOf(format(), rows, columns);
    const std::vector<uint8_t> packed = Pack(layout, fp16);
    for (int64_t i = 0; i < rows * columns; ++i) {
      ASSERT_EQ(PackedCode(layout, packed, i / columns, i % columns), golden[fp16[i]])
          << "fp16 " << std::hex << fp16[i];
    }
  }
}

TEST_P(CodecEncodeTest, GivesBackEveryCodeThatWasDecoded) {
  const auto codes = static_cast<int64_t>(CodeCount(info()));
  const std::vector<uint16_t> values = GoldenDecode(format());
  const PackedLayout layout = LayoutOf(format(), 1, codes);
  const std::vector<uint8_t> packed = Pack(layout, values);
  for (int64_t code = 0; code < codes; ++code) {
    ASSERT_EQ(PackedCode(layout, packed, 0, code), code);
  }
  std::vector<uint16_t> again(codes);
  DecodeToFp16(layout, packed.data(), {0, 1, 0, codes}, again.data());
  EXPECT_EQ(again, values);
}

// Bytes of one row and plane in which a weight has a part.
std::vector<bool> BytesInUse(const PackedLayout& layout) {
  std::vector<bool> used(layout.total_bytes);
  for (int64_t row = 0; row < layout.rows; ++row) {
    for (int64_t column = 0; column < layout.columns; ++column) {
      used[row * layout.low_row_bytes + column] = true;
      const int64_t group_bytes = 2 * InfoOf(layout.format).high_plane_bits;
      if (group_bytes == 0) continue;
      used[layout.high_plane_offset_bytes + row * layout.high_row_bytes +
           column / 16 * group_bytes + column % 16 % group_bytes] = true;
    }
  }
  return used;
}

TEST_P(CodecEncodeTest, EncodesRowsOfAnyLengthPadsThemWithZeroCodesAndWritesNothingBeside) {
  const std::vector<uint16_t> golden = GoldenEncode(format());
  constexpr int64_t kRows = 3;
  for (int64_t columns = 0; columns <= 131; ++columns) {
    SCOPED_TRACE(testing::Message() << columns << " columns");
    const PackedLayout layout = LayoutOf(format(), kRows, columns);
    const std::vector<uint16_t> patterns =
        SomePatterns(format(), kRows * columns, static_cast<uint32_t>(columns));
    Guarded<uint16_t> fp16(kRows * columns, columns % 5);
    std::copy(patterns.begin(), patterns.end(), fp16.begin());
    Guarded<uint8_t> packed(layout.total_bytes);
    EncodeTensor(layout, fp16.begin(), packed.begin());

    ASSERT_TRUE(packed.GuardsIntact());
    const std::vector<uint8_t> bytes(packed.begin(), packed.begin() + layout.total_bytes);
    for (int64_t i = 0; i < kRows * columns; ++i) {
      ASSERT_EQ(PackedCode(layout, bytes, i / columns, i % columns), golden[patterns[i]]) << i;
    }
    const std::vector<bool> used = BytesInUse(layout);
    for (int64_t i = 0; i < layout.total_bytes; ++i) {
      ASSERT_TRUE(used[i] || bytes[i] == 0) << "byte " << i;
    }
    // Places of a shared byte that hold no weight: read past the row's end, up to its padding.
    for (int64_t row = 0; row < kRows; ++row) {
      for (int64_t column = columns; column < layout.low_row_bytes; ++column) {
        ASSERT_EQ(PackedCode(layout, bytes, row, column), 0u) << row << ", " << column;
      }
    }
  }
}

TEST_P(CodecEncodeTest, LeavesOtherRowsAlone) {
  constexpr int64_t kRows = 7;
  for (const int64_t columns : {int64_t{64}, int64_t{45}}) {
    const PackedLayout layout = LayoutOf(format(), kRows, columns);
    const std::vector<uint16_t> fp16 = SomePatterns(format(), kRows * columns, 1);
    const std::vector<uint8_t> whole = Pack(layout, fp16);
    std::vector<uint8_t> packed(layout.total_bytes, 0xAA);
    EncodeBlocks(layout, 2, 3, fp16.data() + 2 * columns, packed.data());
    for (int64_t i = 0; i < layout.total_bytes; ++i) {
      const bool low = i < layout.high_plane_offset_bytes;
      const int64_t row = low ? i / layout.low_row_bytes
                              : (i - layout.high_plane_offset_bytes) / layout.high_row_bytes;
      ASSERT_EQ(packed[i], row >= 2 && row < 5 ? whole[i] : 0xAA) << "byte " << i;
    }
  }
}

TEST_P(CodecEncodeTest, IsTheSameByRowsInManyThreadsAsInOne) {
  constexpr int64_t kRows = 64;
  constexpr int64_t kColumns = 45;  // rows end in the middle of a group
  constexpr int64_t kThreads = 4;
  const PackedLayout layout = LayoutOf(format(), kRows, kColumns);
  const std::vector<uint16_t> fp16 = SomePatterns(format(), kRows * kColumns, 2);
  const std::vector<uint8_t> alone = Pack(layout, fp16);

  std::vector<uint8_t> packed(layout.total_bytes, 0xAA);
  std::vector<uint16_t> decoded(kRows * kColumns);
  const auto in_threads = [&](auto work_on_row) {
    std::vector<std::thread> threads;
    for (int64_t thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&, thread] {
        for (int64_t row = thread; row < kRows; row += kThreads) work_on_row(row);
      });
    }
    for (std::thread& thread : threads) thread.join();
  };
  in_threads([&](int64_t row) {
    EncodeBlocks(layout, row, 1, fp16.data() + row * kColumns, packed.data());
  });
  EXPECT_EQ(packed, alone);

  in_threads([&](int64_t row) {
    DecodeToFp16(layout, packed.data(), {row, 1, 0, kColumns}, decoded.data() + row * kColumns);
  });
  std::vector<uint16_t> decoded_alone(kRows * kColumns);
  DecodeToFp16(layout, alone.data(), {0, kRows, 0, kColumns}, decoded_alone.data());
  EXPECT_EQ(decoded, decoded_alone);
}

TEST(CodecEncodeRangeDeathTest, StopsAtRowsOutsideTheTensor) {
  const PackedLayout layout = LayoutOf(WeightFormat::kHf10, 2, 16);
  const std::vector<uint16_t> fp16(64);
  std::vector<uint8_t> packed(layout.total_bytes);
  EXPECT_DEATH(EncodeBlocks(layout, 1, 2, fp16.data(), packed.data()), "");
  EXPECT_DEATH(EncodeBlocks(layout, -1, 1, fp16.data(), packed.data()), "");
}

INSTANTIATE_TEST_SUITE_P(FormatsAndSimdTargets, CodecEncodeTest,
                         testing::Combine(testing::ValuesIn(HfFormats()),
                                          testing::ValuesIn(AllSimdTargets())),
                         CodecTestName);

}  // namespace
}  // namespace tightfit
