// The 128 bytes before a packed tensor that is a file of its own; kernels/FORMATS.md section 7.
// Headers come from outside: whatever is not exactly what the format allows is refused, before
// anything is allocated. No allocation, no exceptions; thread-safe.
//
//   uint8_t bytes[kPackedHeaderBytes] from the file
//   PackedHeader header;
//   const PackedHeaderError error = ParsePackedHeader(bytes, file_bytes, &header);
//   if (error != PackedHeaderError::kNone) ... PackedHeaderErrorText(error)
//   read header.layout.total_bytes more, compare their SHA-256 with header.sha256, decode
#ifndef TIGHTFIT_KERNELS_PACKED_HEADER_H_
#define TIGHTFIT_KERNELS_PACKED_HEADER_H_

#include "kernels/packed_layout.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace tightfit {

inline constexpr int64_t kPackedHeaderBytes = 128;
inline constexpr int kMaxPackedRank = 4;

// In which order the codes of a row lie.
enum class CodeOrder : uint8_t {
  kAsShape = 0,       // as the shape says: the last dimension runs fastest
  kChannelsLast = 1,  // of a shape [K, C, R, S]: K, R, S, C, as the server multiplies
};

struct PackedHeader {
  int rank = 0;
  std::array<int64_t, kMaxPackedRank> shape = {};  // dimensions from `rank` on are 0
  CodeOrder order = CodeOrder::kAsShape;           // kChannelsLast: of four dimensions alone
  PackedLayout layout;                             // of shape[0] rows
  std::array<uint8_t, 32> sha256 = {};             // of the layout.total_bytes that follow
};

enum class PackedHeaderError : uint8_t {
  kNone,
  kTooShort,
  kMagic,
  kChecksum,
  kVersion,
  kFormat,
  kRank,
  kDimension,
  kUnusedDimension,
  kTooManyWeights,
  kExponentBias,
  kSideCount,
  kPayloadBytes,
  kCodeOrder,
  kReserved,
  kFileTruncated,
  kFileTooLong,
};

// What is wrong, in a clause that goes after the file's name and a colon.
std::string_view PackedHeaderErrorText(PackedHeaderError error);

// The rows and columns of a shape: the first dimension and the product of the others. `shape` has
// 1 .. kMaxPackedRank dimensions of at least 1; nullopt where it has not, or where it is of more
// than kMaxTensorWeights.
struct RowsAndColumns {
  int64_t rows = 0;
  int64_t columns = 0;
};
std::optional<RowsAndColumns> PackedRowsAndColumns(std::span<const int64_t> shape);

// Requires that the layout is one that LayoutOf made of the shape's rows and columns.
void SerializePackedHeader(const PackedHeader& header, std::span<uint8_t, kPackedHeaderBytes> out);

// Reads the first kPackedHeaderBytes of `bytes`, which may be longer. `file_bytes`: the whole
// file's size, where it is known: it must be the header's and the payload's. Leaves *header alone
// where it returns an error.
PackedHeaderError ParsePackedHeader(std::span<const uint8_t> bytes,
                                    std::optional<int64_t> file_bytes, PackedHeader* header);

// The largest side list that an encoder writes for so many weights: 0.1 % of them.
constexpr int64_t LargestSideCount(int64_t weight_count) { return weight_count / 1000; }

}  // namespace tightfit

#endif  // TIGHTFIT_KERNELS_PACKED_HEADER_H_
