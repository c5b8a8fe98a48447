#include "kernels/packed_header.h"

#include <hwy/base.h>

#include <algorithm>
#include <cstring>

namespace tightfit {
namespace {

constexpr std::string_view kMagic = "TFPACKED";
// Offsets of the fields.
constexpr size_t kVersionAt = 8;
constexpr size_t kFormatAt = 10;
constexpr size_t kRankAt = 12;
constexpr size_t kExponentBiasAt = 14;
constexpr size_t kShapeAt = 16;
constexpr size_t kSideCountAt = 48;
constexpr size_t kPayloadBytesAt = 56;
constexpr size_t kSha256At = 64;
constexpr size_t kCodeOrderAt = 96;
constexpr size_t kReservedAt = 97;
constexpr size_t kChecksumAt = 124;

// The CRC-32 of IEEE 802.3, as in zlib and PNG.
constexpr std::array<uint32_t, 256> kCrcTable = [] {
  std::array<uint32_t, 256> table = {};
  for (uint32_t i = 0; i < table.size(); ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320u : 0u);
    table[i] = crc;
  }
  return table;
}();

uint32_t Crc32(std::span<const uint8_t> bytes) {
  uint32_t crc = 0xFFFFFFFFu;
  for (const uint8_t byte : bytes) crc = (crc >> 8) ^ kCrcTable[(crc ^ byte) & 0xFF];
  return ~crc;
}

// `size` bytes, little-endian on every machine.
uint64_t ReadInteger(const uint8_t* from, size_t size) {
  uint64_t value = 0;
  for (size_t i = 0; i < size; ++i) value |= static_cast<uint64_t>(from[i]) << (8 * i);
  return value;
}

void WriteInteger(uint64_t value, size_t size, uint8_t* to) {
  for (size_t i = 0; i < size; ++i) to[i] = static_cast<uint8_t>(value >> (8 * i));
}

uint32_t Read16(std::span<const uint8_t> bytes, size_t at) {
  return static_cast<uint32_t>(ReadInteger(bytes.data() + at, 2));
}

// Of what does not fit an int64_t, a negative number: refused by every bound below.
int64_t Read64(std::span<const uint8_t> bytes, size_t at) {
  return static_cast<int64_t>(ReadInteger(bytes.data() + at, 8));
}

// Rank and dimensions.
PackedHeaderError ParseShape(std::span<const uint8_t> bytes, PackedHeader* header) {
  const uint32_t rank = Read16(bytes, kRankAt);
  if (rank < 1 || rank > kMaxPackedRank) return PackedHeaderError::kRank;
  header->rank = static_cast<int>(rank);
  for (size_t i = 0; i < kMaxPackedRank; ++i) {
    const int64_t dimension = Read64(bytes, kShapeAt + 8 * i);
    if (i >= rank) {
      if (dimension != 0) return PackedHeaderError::kUnusedDimension;
      continue;
    }
    if (dimension < 1 || dimension > kMaxTensorWeights) return PackedHeaderError::kDimension;
    header->shape[i] = dimension;
  }
  return PackedHeaderError::kNone;
}

PackedHeaderError ParseOrder(std::span<const uint8_t> bytes, PackedHeader* header) {
  const uint8_t order = bytes[kCodeOrderAt];
  const bool channels_last = order == static_cast<uint8_t>(CodeOrder::kChannelsLast);
  if (order != 0 && !(channels_last && header->rank == kMaxPackedRank)) {
    return PackedHeaderError::kCodeOrder;
  }
  header->order = channels_last ? CodeOrder::kChannelsLast : CodeOrder::kAsShape;
  return PackedHeaderError::kNone;
}

// Format, bias, side list, size: what LayoutOf asks for, each within the bounds that it requires.
PackedHeaderError ParseLayout(std::span<const uint8_t> bytes, PackedHeader* header) {
  const uint32_t format = Read16(bytes, kFormatAt);
  if (format < 1 || format > kFormats.size()) return PackedHeaderError::kFormat;
  const FormatInfo& info = kFormats[format - 1];

  const auto size = PackedRowsAndColumns(
      std::span<const int64_t>(header->shape).first(static_cast<size_t>(header->rank)));
  if (!size.has_value()) return PackedHeaderError::kTooManyWeights;

  const bool has_bias = info.scaling == Scaling::kTensor;
  const auto exponent_bias = static_cast<int>(Read16(bytes, kExponentBiasAt));
  if (exponent_bias > (has_bias ? LargestExponentBias(info) : 0)) {
    return PackedHeaderError::kExponentBias;
  }
  const int64_t side_count = Read64(bytes, kSideCountAt);
  const int64_t largest_side_count = has_bias ? LargestSideCount(size->rows * size->columns) : 0;
  if (side_count < 0 || side_count > largest_side_count) return PackedHeaderError::kSideCount;

  header->layout = LayoutOf(info.format, size->rows, size->columns, exponent_bias, side_count);
  if (Read64(bytes, kPayloadBytesAt) != header->layout.total_bytes) {
    return PackedHeaderError::kPayloadBytes;
  }
  return PackedHeaderError::kNone;
}

}  // namespace

std::string_view PackedHeaderErrorText(PackedHeaderError error) {
  switch (error) {
    case PackedHeaderError::kNone:
      return "the header is right";
    case PackedHeaderError::kTooShort:
      return "the file is shorter than a header of 128 bytes: it is cut off, or no packed tensor";
    case PackedHeaderError::kMagic:
      return "the file does not begin with TFPACKED: it is no packed tensor";
    case PackedHeaderError::kChecksum:
      return "the header's checksum is wrong: the file is damaged";
    case PackedHeaderError::kVersion:
      return "the layout's version is not 1: the file was written by another release";
    case PackedHeaderError::kFormat:
      return "the number of the format is not known: the file was written by another release";
    case PackedHeaderError::kRank:
      return "the header says a shape of other than 1 to 4 dimensions";
    case PackedHeaderError::kDimension:
      return "the header says a dimension that is 0 or above 2^32 - 1";
    case PackedHeaderError::kUnusedDimension:
      return "the header says more dimensions than its rank has";
    case PackedHeaderError::kTooManyWeights:
      return "the header says more than 2^32 - 1 weights";
    case PackedHeaderError::kExponentBias:
      return "the header says an exponent bias that the format does not have";
    case PackedHeaderError::kSideCount:
      return "the header says a longer side list than the format allows";
    case PackedHeaderError::kPayloadBytes:
      return "the header says another size than its format and shape make";
    case PackedHeaderError::kCodeOrder:
      return "the order of its codes is not known: the file was written by another release";
    case PackedHeaderError::kReserved:
      return "reserved bytes of the header are not 0: the file was written by another release";
    case PackedHeaderError::kFileTruncated:
      return "the file is shorter than its header says: it is cut off";
    case PackedHeaderError::kFileTooLong:
      return "the file is longer than its header says";
  }
  return "the header is wrong";
}

std::optional<RowsAndColumns> PackedRowsAndColumns(std::span<const int64_t> shape) {
  if (shape.empty() || shape.size() > kMaxPackedRank) return std::nullopt;
  int64_t weights = 1;
  for (const int64_t dimension : shape) {
    if (dimension < 1 || dimension > kMaxTensorWeights / weights) return std::nullopt;
    weights *= dimension;
  }
  return RowsAndColumns{shape[0], weights / shape[0]};
}

void SerializePackedHeader(const PackedHeader& header, std::span<uint8_t, kPackedHeaderBytes> out) {
  const PackedLayout& layout = header.layout;
  const auto size = PackedRowsAndColumns(
      std::span<const int64_t>(header.shape).first(static_cast<size_t>(header.rank)));
  HWY_ASSERT(size.has_value() && size->rows == layout.rows && size->columns == layout.columns);

  std::fill(out.begin(), out.end(), uint8_t{0});
  uint8_t* const bytes = out.data();
  std::memcpy(bytes, kMagic.data(), kMagic.size());
  WriteInteger(PackedLayout::kVersion, 2, bytes + kVersionAt);
  WriteInteger(static_cast<uint64_t>(layout.format), 2, bytes + kFormatAt);
  WriteInteger(static_cast<uint64_t>(header.rank), 2, bytes + kRankAt);
  WriteInteger(static_cast<uint64_t>(layout.exponent_bias), 2, bytes + kExponentBiasAt);
  for (size_t i = 0; i < static_cast<size_t>(header.rank); ++i) {
    WriteInteger(static_cast<uint64_t>(header.shape[i]), 8, bytes + kShapeAt + 8 * i);
  }
  WriteInteger(static_cast<uint64_t>(layout.side_count), 8, bytes + kSideCountAt);
  WriteInteger(static_cast<uint64_t>(layout.total_bytes), 8, bytes + kPayloadBytesAt);
  std::copy(header.sha256.begin(), header.sha256.end(), bytes + kSha256At);
  HWY_ASSERT(header.order == CodeOrder::kAsShape || header.rank == kMaxPackedRank);
  bytes[kCodeOrderAt] = static_cast<uint8_t>(header.order);
  WriteInteger(Crc32(out.first(kChecksumAt)), 4, bytes + kChecksumAt);
}

PackedHeaderError ParsePackedHeader(std::span<const uint8_t> bytes,
                                    std::optional<int64_t> file_bytes, PackedHeader* header) {
  if (bytes.size() < kPackedHeaderBytes) return PackedHeaderError::kTooShort;
  bytes = bytes.first(kPackedHeaderBytes);
  if (std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0) {
    return PackedHeaderError::kMagic;
  }
  // Before all other fields: of a damaged header nothing else can be said.
  if (ReadInteger(bytes.data() + kChecksumAt, 4) != Crc32(bytes.first(kChecksumAt))) {
    return PackedHeaderError::kChecksum;
  }
  if (Read16(bytes, kVersionAt) != PackedLayout::kVersion) return PackedHeaderError::kVersion;
  const auto reserved = bytes.subspan(kReservedAt, kChecksumAt - kReservedAt);
  if (std::any_of(reserved.begin(), reserved.end(), [](uint8_t byte) { return byte != 0; })) {
    return PackedHeaderError::kReserved;
  }

  PackedHeader parsed;
  PackedHeaderError error = ParseShape(bytes, &parsed);
  if (error == PackedHeaderError::kNone) error = ParseOrder(bytes, &parsed);
  if (error == PackedHeaderError::kNone) error = ParseLayout(bytes, &parsed);
  if (error != PackedHeaderError::kNone) return error;
  std::copy_n(bytes.begin() + kSha256At, parsed.sha256.size(), parsed.sha256.begin());

  if (file_bytes.has_value()) {
    const int64_t needed = kPackedHeaderBytes + parsed.layout.total_bytes;
    if (*file_bytes < needed) return PackedHeaderError::kFileTruncated;
    if (*file_bytes > needed) return PackedHeaderError::kFileTooLong;
  }
  *header = parsed;
  return PackedHeaderError::kNone;
}

}  // namespace tightfit
