// Fuzz target: files of packed tensors. Whatever the bytes are, the header is refused or harmless,
// and decoding what follows reads and writes nothing outside its buffers.
#include "kernels/codec.h"
#include "kernels/packed_header.h"
#include "tests/fuzz/require.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <optional>
#include <span>
#include <vector>

namespace tightfit {
namespace {

constexpr int64_t kMaxWeights = 1 << 16;  // of a tensor that is decoded
constexpr int64_t kMaxPayloadBytes = 1 << 20;

// A heap block of exactly `size` bytes on the border that packed tensors need: ASan sees every byte
// read beyond it.
class PackedBytes {
 public:
  explicit PackedBytes(int64_t size)
      : bytes_(static_cast<uint8_t*>(
            ::operator new (static_cast<size_t>(size), std::align_val_t{kPartAlignmentBytes}))) {}
  ~PackedBytes() { ::operator delete (bytes_, std::align_val_t{kPartAlignmentBytes}); }
  PackedBytes(const PackedBytes&) = delete;
  PackedBytes& operator=(const PackedBytes&) = delete;

  uint8_t* data() { return bytes_; }

 private:
  uint8_t* const bytes_;
};

// Decodes all of a small tensor and a range in its middle. `payload` is repeated until it fills the
// packed tensor.
void DecodePayload(const PackedLayout& layout, std::span<const uint8_t> payload) {
  const int64_t weights = layout.rows * layout.columns;
  if (weights > kMaxWeights || layout.total_bytes > kMaxPayloadBytes) return;
  PackedBytes packed(layout.total_bytes);
  for (int64_t i = 0; i < layout.total_bytes; ++i) {
    packed.data()[i] = payload.empty() ? 0 : payload[static_cast<size_t>(i) % payload.size()];
  }
  const DecodeRange all{0, layout.rows, 0, layout.columns};
  const DecodeRange middle{layout.rows / 3, layout.rows - layout.rows / 2, layout.columns / 3,
                           layout.columns - layout.columns / 2};
  std::vector<float> fp32(static_cast<size_t>(weights));
  for (const DecodeRange& range : {all, middle}) {
    const auto count = static_cast<size_t>(range.row_count * range.column_count);
    std::vector<uint16_t> halves(count);
    DecodeToFp16(layout, packed.data(), range, halves.data());
    DecodeToBf16(layout, packed.data(), range, halves.data());
    fp32.resize(count);
    fp32.shrink_to_fit();
    DecodeToFp32(layout, packed.data(), range, fp32.data());
  }
}

void ParseAndDecode(std::span<const uint8_t> header_bytes, std::span<const uint8_t> payload,
                    std::optional<int64_t> file_bytes) {
  PackedHeader header;
  const PackedHeaderError error = ParsePackedHeader(header_bytes, file_bytes, &header);
  Require(!PackedHeaderErrorText(error).empty());
  if (error != PackedHeaderError::kNone) return;
  // What was accepted says all of the header: it is written back bit for bit.
  std::array<uint8_t, kPackedHeaderBytes> again;
  SerializePackedHeader(header, again);
  Require(std::equal(again.begin(), again.end(), header_bytes.begin()));
  DecodePayload(header.layout, payload);
}

uint64_t Field(std::span<const uint8_t> bytes, size_t at, size_t size) {
  uint64_t value = 0;
  std::memcpy(&value, bytes.data() + at, size);
  return value;
}

// The nearest right header of a small tensor, so that no checksum keeps the fuzzer from decoding.
PackedHeader RightHeader(std::span<const uint8_t> bytes) {
  const FormatInfo& info = kFormats[(Field(bytes, 10, 2) - 1) % kFormats.size()];
  PackedHeader header;
  header.rank = 2;
  header.shape[0] = static_cast<int64_t>(1 + Field(bytes, 16, 8) % 64);
  header.shape[1] = static_cast<int64_t>(1 + Field(bytes, 24, 8) % 1024);
  const bool has_bias = info.scaling == Scaling::kTensor;
  const uint64_t bias_count = static_cast<uint64_t>(LargestExponentBias(info)) + 1;
  const auto side_counts =
      static_cast<uint64_t>(LargestSideCount(header.shape[0] * header.shape[1])) + 1;
  header.layout = LayoutOf(info.format, header.shape[0], header.shape[1],
                           has_bias ? static_cast<int>(Field(bytes, 14, 2) % bias_count) : 0,
                           has_bias ? static_cast<int64_t>(Field(bytes, 48, 8) % side_counts) : 0);
  return header;
}

}  // namespace
}  // namespace tightfit

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tightfit;
  const std::span<const uint8_t> file(data, size);
  const size_t header_size = std::min<size_t>(size, kPackedHeaderBytes);
  const auto payload = file.subspan(header_size);
  ParseAndDecode(file, payload, static_cast<int64_t>(size));
  if (header_size < kPackedHeaderBytes) return 0;

  std::array<uint8_t, kPackedHeaderBytes> right;
  SerializePackedHeader(RightHeader(file), right);
  ParseAndDecode(right, payload, std::nullopt);

  // The bytes as they are, but with a right checksum.
  std::copy_n(file.begin(), kPackedHeaderBytes, right.begin());
  uint32_t crc = ~0u;
  for (size_t i = 0; i < 124; ++i) {
    crc ^= right[i];
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) * 0xEDB88320u);
  }
  crc = ~crc;
  std::memcpy(right.data() + 124, &crc, 4);
  ParseAndDecode(right, payload, std::nullopt);
  return 0;
}
