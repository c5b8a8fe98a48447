#include "kernels/packed_header.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

namespace tightfit {
namespace {

using Bytes = std::vector<uint8_t>;

// By hand from FORMATS.md section 7, its last four bytes by Python's zlib.crc32: e2m5, [2, 1280],
// bias 5, two entries in the side list. 2 x 1280 bytes of codes, 16 of positions, 16 of values.
constexpr std::array<uint8_t, kPackedHeaderBytes> kGolden = {
    0x54, 0x46, 0x50, 0x41, 0x43, 0x4B, 0x45, 0x44, 0x01, 0x00, 0x06, 0x00, 0x02, 0x00, 0x05, 0x00,
    0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x20, 0x0A, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F,
    0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1B, 0x1C, 0x1D, 0x1E, 0x1F,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x37, 0xCC, 0xF3, 0xC2};

PackedHeader GoldenHeader() {
  PackedHeader header{
      .rank = 2, .shape = {2, 1280}, .layout = LayoutOf(WeightFormat::kE2m5, 2, 1280, 5, 2)};
  for (size_t i = 0; i < header.sha256.size(); ++i) header.sha256[i] = static_cast<uint8_t>(i);
  return header;
}

PackedHeaderError Parse(const Bytes& bytes, PackedHeader* header = nullptr,
                        std::optional<int64_t> file_bytes = std::nullopt) {
  PackedHeader ignored;
  // From a heap block of just this size, so that sanitizers see a read beyond it.
  return ParsePackedHeader(bytes, file_bytes, header == nullptr ? &ignored : header);
}

// Bit by bit, unlike the code under test.
uint32_t ReferenceCrc32(const uint8_t* bytes, size_t size) {
  uint32_t crc = ~0u;
  for (size_t i = 0; i < size; ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      const uint32_t feedback = (crc ^ static_cast<uint32_t>(bytes[i] >> bit)) & 1;
      crc = (crc >> 1) ^ (feedback * 0xEDB88320u);
    }
  }
  return ~crc;
}

Bytes WithChecksum(Bytes bytes) {
  const uint32_t crc = ReferenceCrc32(bytes.data(), 124);
  for (size_t i = 0; i < 4; ++i) bytes[124 + i] = static_cast<uint8_t>(crc >> (8 * i));
  return bytes;
}

// The golden header with `size` bytes of `value` at an offset.
Bytes Changed(size_t at, size_t size, uint64_t value) {
  Bytes bytes(kGolden.begin(), kGolden.end());
  for (size_t i = 0; i < size; ++i) bytes[at + i] = static_cast<uint8_t>(value >> (8 * i));
  return WithChecksum(bytes);
}

TEST(PackedHeaderTest, HasTheBytesThatTheSpecificationSays) {
  std::array<uint8_t, kPackedHeaderBytes> bytes;
  bytes.fill(0xFF);
  SerializePackedHeader(GoldenHeader(), bytes);
  EXPECT_EQ(bytes, kGolden);
}

TEST(PackedHeaderTest, IsReadBackFromTheBytesThatTheSpecificationSays) {
  PackedHeader header;
  ASSERT_EQ(Parse(Bytes(kGolden.begin(), kGolden.end()), &header, 128 + 2592),
            PackedHeaderError::kNone);
  EXPECT_EQ(header.rank, 2);
  EXPECT_EQ(header.shape, (std::array<int64_t, 4>{2, 1280, 0, 0}));
  EXPECT_EQ(header.layout.format, WeightFormat::kE2m5);
  EXPECT_EQ(header.layout.rows, 2);
  EXPECT_EQ(header.layout.columns, 1280);
  EXPECT_EQ(header.layout.exponent_bias, 5);
  EXPECT_EQ(header.layout.side_count, 2);
  EXPECT_EQ(header.layout.total_bytes, 2592);
  EXPECT_EQ(header.sha256, GoldenHeader().sha256);
}

TEST(PackedHeaderTest, OfEveryFormatAndRankIsReadBack) {
  const std::vector<std::vector<int64_t>> shapes = {
      {1}, {7}, {2, 1280}, {3, 5, 2}, {320, 3, 3, 4}, {1, 1, 1, 4294967295}, {4294967295}};
  for (const FormatInfo& info : kFormats) {
    for (const std::vector<int64_t>& shape : shapes) {
      const auto size = PackedRowsAndColumns(shape);
      ASSERT_TRUE(size.has_value());
      PackedHeader header{.rank = static_cast<int>(shape.size()),
                          .layout = LayoutOf(info.format, size->rows, size->columns)};
      std::copy(shape.begin(), shape.end(), header.shape.begin());
      Bytes bytes(kPackedHeaderBytes);
      SerializePackedHeader(header, std::span<uint8_t, kPackedHeaderBytes>(bytes));
      PackedHeader parsed;
      ASSERT_EQ(Parse(bytes, &parsed), PackedHeaderError::kNone) << info.name;
      EXPECT_EQ(parsed.rank, header.rank);
      EXPECT_EQ(parsed.shape, header.shape);
      EXPECT_EQ(parsed.layout.format, info.format);
      EXPECT_EQ(parsed.layout.total_bytes, header.layout.total_bytes);
    }
  }
}

TEST(PackedHeaderTest, IsRefusedAtEveryTruncation) {
  for (size_t size = 0; size < kGolden.size(); ++size) {
    EXPECT_EQ(Parse(Bytes(kGolden.begin(), kGolden.begin() + static_cast<int64_t>(size))),
              PackedHeaderError::kTooShort)
        << size;
  }
}

TEST(PackedHeaderTest, IsRefusedAfterEveryFlipOfOneBit) {
  for (size_t bit = 0; bit < kGolden.size() * 8; ++bit) {
    Bytes bytes(kGolden.begin(), kGolden.end());
    bytes[bit / 8] ^= static_cast<uint8_t>(1 << (bit % 8));
    EXPECT_EQ(Parse(bytes), bit < 64 ? PackedHeaderError::kMagic : PackedHeaderError::kChecksum)
        << bit;
  }
}

struct BadField {
  const char* what;
  Bytes bytes;
  PackedHeaderError error;
};

TEST(PackedHeaderTest, IsRefusedForEveryFieldThatIsWrong) {
  using Error = PackedHeaderError;
  constexpr uint64_t kAllOnes = ~uint64_t{0};
  const BadField fields[] = {
      {"another magic", Changed(0, 1, 'X'), Error::kMagic},
      {"version 0", Changed(8, 2, 0), Error::kVersion},
      {"version 2", Changed(8, 2, 2), Error::kVersion},
      {"version 257", Changed(8, 2, 257), Error::kVersion},
      {"format 0", Changed(10, 2, 0), Error::kFormat},
      {"a format after the last", Changed(10, 2, kFormats.size() + 1), Error::kFormat},
      {"a format above 255", Changed(10, 2, 0x106), Error::kFormat},
      {"rank 0", Changed(12, 2, 0), Error::kRank},
      {"rank 5", Changed(12, 2, 5), Error::kRank},
      {"rank 1 of two dimensions", Changed(12, 2, 1), Error::kUnusedDimension},
      {"rank 3 of two dimensions", Changed(12, 2, 3), Error::kDimension},
      {"a bias too large", Changed(14, 2, 21), Error::kExponentBias},
      {"the largest bias field", Changed(14, 2, 0xFFFF), Error::kExponentBias},
      {"no rows", Changed(16, 8, 0), Error::kDimension},
      {"rows of 2^32", Changed(16, 8, uint64_t{1} << 32), Error::kDimension},
      {"negative rows", Changed(16, 8, kAllOnes), Error::kDimension},
      {"rows whose product is too large", Changed(16, 8, 4294967295), Error::kTooManyWeights},
      {"columns whose product wraps", Changed(24, 8, uint64_t{1} << 63), Error::kDimension},
      {"a third dimension", Changed(32, 8, 1), Error::kUnusedDimension},
      {"a fourth dimension", Changed(40, 8, kAllOnes), Error::kUnusedDimension},
      {"a side list above 0.1 %", Changed(48, 8, 3), Error::kSideCount},
      {"a negative side list", Changed(48, 8, kAllOnes), Error::kSideCount},
      {"a side list of 2^62", Changed(48, 8, uint64_t{1} << 62), Error::kSideCount},
      {"a byte more", Changed(56, 8, 2593), Error::kPayloadBytes},
      {"16 bytes fewer", Changed(56, 8, 2576), Error::kPayloadBytes},
      {"negative bytes", Changed(56, 8, kAllOnes), Error::kPayloadBytes},
      {"fewer columns than the side list needs", Changed(24, 8, 999), Error::kSideCount},
      {"columns of another size", Changed(24, 8, 1296), Error::kPayloadBytes},
      {"channels last of two dimensions", Changed(96, 1, 1), Error::kCodeOrder},
      {"an order after the last", Changed(96, 1, 2), Error::kCodeOrder},
      {"a first reserved byte", Changed(97, 1, 1), Error::kReserved},
      {"a last reserved byte", Changed(123, 1, 0x80), Error::kReserved},
      {"a bias of a format without", Changed(10, 2, 1), Error::kExponentBias},
  };
  for (const BadField& field : fields) {
    PackedHeader header{.rank = 77};
    EXPECT_EQ(Parse(field.bytes, &header), field.error) << field.what;
    EXPECT_EQ(header.rank, 77) << field.what;
  }
}

TEST(PackedHeaderTest, TellsTheOrderOfItsCodes) {
  for (const CodeOrder order : {CodeOrder::kAsShape, CodeOrder::kChannelsLast}) {
    PackedHeader header{.rank = 4, .shape = {320, 4, 3, 3}, .order = order};
    header.layout = LayoutOf(WeightFormat::kHf8, 320, 36);
    Bytes bytes(kPackedHeaderBytes);
    SerializePackedHeader(header, std::span<uint8_t, kPackedHeaderBytes>(bytes));
    PackedHeader parsed;
    ASSERT_EQ(Parse(bytes, &parsed), PackedHeaderError::kNone);
    EXPECT_EQ(parsed.order, order);
  }
}

TEST(PackedHeaderTest, IsRefusedWithASideListThatTheFormatHasNot) {
  Bytes bytes = Changed(14, 2, 0);
  bytes[10] = static_cast<uint8_t>(WeightFormat::kHf8);
  EXPECT_EQ(Parse(WithChecksum(bytes)), PackedHeaderError::kSideCount);
}

TEST(PackedHeaderTest, IsRefusedInAFileOfAnotherSize) {
  const Bytes golden(kGolden.begin(), kGolden.end());
  EXPECT_EQ(Parse(golden, nullptr, 128 + 2592), PackedHeaderError::kNone);
  EXPECT_EQ(Parse(golden, nullptr, 128 + 2591), PackedHeaderError::kFileTruncated);
  EXPECT_EQ(Parse(golden, nullptr, 128), PackedHeaderError::kFileTruncated);
  EXPECT_EQ(Parse(golden, nullptr, 128 + 2593), PackedHeaderError::kFileTooLong);
}

// What an attacker writes has a right checksum. Fields are changed to numbers near their bounds.
TEST(PackedHeaderTest, WithARightChecksumIsRefusedOrHarmless) {
  std::mt19937_64 random(7);
  const auto pick = [&random](uint64_t count) { return random() % count; };
  constexpr size_t kFieldAt[] = {8, 10, 12, 14, 16, 24, 32, 40, 48, 56, 96};
  int accepted = 0;
  for (int round = 0; round < 200000; ++round) {
    Bytes bytes(kGolden.begin(), kGolden.end());
    for (uint64_t changes = 1 + pick(3); changes > 0; --changes) {
      const size_t at = kFieldAt[pick(std::size(kFieldAt))];
      const size_t size = at < 16 ? 2 : 8;
      uint64_t value = uint64_t{1} << pick(64);
      value = pick(2) == 0 ? pick(40) : value - 1 + pick(3);
      for (size_t i = 0; i < size; ++i) bytes[at + i] = static_cast<uint8_t>(value >> (8 * i));
    }
    // Half of them with the size that the rest makes, if it makes one.
    const auto field = [&bytes](size_t at) {
      int64_t value = 0;
      std::memcpy(&value, bytes.data() + at, 8);
      return value;
    };
    if (pick(2) == 0 && bytes[10] >= 1 && bytes[10] <= kFormats.size() &&
        IsPackableShape(field(16), field(24)) && field(48) == 0) {
      const auto format = static_cast<WeightFormat>(bytes[10]);
      const int64_t total_bytes = LayoutOf(format, field(16), field(24)).total_bytes;
      std::memcpy(bytes.data() + 56, &total_bytes, 8);
    }
    PackedHeader header;
    if (Parse(WithChecksum(bytes), &header) != PackedHeaderError::kNone) continue;
    ++accepted;
    const PackedLayout& layout = header.layout;
    ASSERT_TRUE(IsPackableShape(layout.rows, layout.columns));
    ASSERT_EQ(layout.total_bytes, field(56));
    ASSERT_LE(layout.side_count * 1000, layout.rows * layout.columns);
    std::array<uint8_t, kPackedHeaderBytes> again;
    SerializePackedHeader(header, again);
    ASSERT_TRUE(std::equal(again.begin(), again.begin() + 124, bytes.begin()));
  }
  EXPECT_GT(accepted, 1000);  // the rest of the test means something
}

TEST(PackedHeaderTest, EveryErrorHasAClauseOfItsOwn) {
  std::vector<std::string_view> texts;
  for (int i = 0; i <= static_cast<int>(PackedHeaderError::kFileTooLong); ++i) {
    texts.push_back(PackedHeaderErrorText(static_cast<PackedHeaderError>(i)));
    EXPECT_FALSE(texts.back().empty());
    EXPECT_EQ(texts.back().find('\n'), std::string_view::npos);
  }
  std::sort(texts.begin(), texts.end());
  EXPECT_EQ(std::unique(texts.begin(), texts.end()), texts.end());
}

TEST(PackedRowsAndColumnsTest, TakeTheFirstDimensionAndTheProductOfTheOthers) {
  const auto of = [](const std::vector<int64_t>& shape) {
    const auto size = PackedRowsAndColumns(shape);
    return size.has_value() ? std::vector<int64_t>{size->rows, size->columns}
                            : std::vector<int64_t>();
  };
  EXPECT_EQ(of({5}), (std::vector<int64_t>{5, 1}));
  EXPECT_EQ(of({320, 3, 3, 4}), (std::vector<int64_t>{320, 36}));
  EXPECT_EQ(of({65536, 65535}), (std::vector<int64_t>{65536, 65535}));
  EXPECT_TRUE(of({65536, 65536}).empty());
  EXPECT_TRUE(of({}).empty());
  EXPECT_TRUE(of({1, 1, 1, 1, 1}).empty());
  EXPECT_TRUE(of({4, 0}).empty());
  EXPECT_TRUE(of({-1, -1}).empty());
}

}  // namespace
}  // namespace tightfit
