#include "tests/unit/kernels/packed_tensor_probe.h"

#include <hwy/targets.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>

namespace tightfit {
namespace {

std::vector<uint16_t> ReadGolden(WeightFormat format, const char* what, size_t count) {
  const std::string path = std::string(TIGHTFIT_SOURCE_DIR "/tests/golden/") +
                           std::string(InfoOf(format).name) + "_" + what + ".u16";
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(bytes.size(), count * 2) << path;
  std::vector<uint16_t> table(count);
  for (size_t i = 0; i < std::min(count, bytes.size() / 2); ++i) {
    table[i] = static_cast<uint16_t>(static_cast<uint8_t>(bytes[2 * i]) |
                                     static_cast<uint8_t>(bytes[2 * i + 1]) << 8);
  }
  return table;
}

}  // namespace

std::vector<uint16_t> GoldenDecode(WeightFormat format) {
  return ReadGolden(format, "decode", CodeCount(InfoOf(format)));
}

std::vector<uint16_t> GoldenEncode(WeightFormat format) {
  return ReadGolden(format, "encode", 65536);
}

std::vector<uint16_t> RepresentablePatterns(WeightFormat format) {
  const std::vector<uint16_t> codes = GoldenEncode(format);
  std::vector<uint16_t> patterns;
  for (uint32_t fp16 = 0; fp16 < 65536; ++fp16) {
    if (codes[fp16] != kNotRepresentable) patterns.push_back(static_cast<uint16_t>(fp16));
  }
  return patterns;
}

std::vector<uint16_t> SomePatterns(WeightFormat format, int64_t count, uint32_t seed) {
  const std::vector<uint16_t> all = RepresentablePatterns(format);
  std::vector<uint16_t> patterns(count);
  uint64_t state = seed;
  for (uint16_t& pattern : patterns) {
    // Knuth's MMIX generator; its upper bits are the good ones.
    state = state * 6364136223846793005u + 1442695040888963407u;
    pattern = all[(state >> 33) % all.size()];
  }
  return patterns;
}

uint32_t PackedCode(const PackedLayout& layout, const std::vector<uint8_t>& packed, int64_t row,
                    int64_t column) {
  const uint32_t low = packed[row * layout.low_row_bytes + column];
  const int64_t high_row = layout.high_plane_offset_bytes + row * layout.high_row_bytes;
  const int64_t group = column / 16;
  const int64_t place = column % 16;
  switch (InfoOf(layout.format).high_plane_bits) {
    case 4: {
      const uint32_t byte = packed[high_row + group * 8 + place % 8];
      return (place < 8 ? byte % 16 : byte / 16) * 256 + low;
    }
    case 2: {
      const uint32_t byte = packed[high_row + group * 4 + place % 4];
      const uint32_t places[4] = {byte % 4, byte / 4 % 4, byte / 16 % 4, byte / 64};
      return places[place / 4] * 256 + low;
    }
    default:
      return low;
  }
}

std::vector<uint8_t> Pack(const PackedLayout& layout, const std::vector<uint16_t>& fp16) {
  std::vector<uint8_t> packed(layout.total_bytes, 0xAA);
  EncodeTensor(layout, fp16.data(), packed.data());
  return packed;
}

template <typename T>
Guarded<T>::Guarded(int64_t size, int64_t misalignment)
    : elements_(size + 2 * kGuard), size_(size) {
  std::memset(elements_.data(), 0xA5, elements_.size() * sizeof(T));
  const auto address = reinterpret_cast<uintptr_t>(elements_.data());
  const int64_t to_border = (64 - address % 64) % 64 / sizeof(T);
  begin_ = to_border + misalignment;
}

template <typename T>
bool Guarded<T>::GuardsIntact() const {
  const auto* bytes = reinterpret_cast<const uint8_t*>(elements_.data());
  const auto guard = [](uint8_t byte) { return byte == 0xA5; };
  return std::all_of(bytes, bytes + begin_ * sizeof(T), guard) &&
         std::all_of(bytes + (begin_ + size_) * sizeof(T), bytes + elements_.size() * sizeof(T),
                     guard);
}

template class Guarded<uint8_t>;
template class Guarded<uint16_t>;
template class Guarded<float>;

void CodecTest::SetUp() {
  const int64_t target = std::get<1>(GetParam());
  hwy::SetSupportedTargetsForTest(target);
  ASSERT_STREQ(SimdTargetName(), hwy::TargetName(target));
}

void CodecTest::TearDown() { hwy::SetSupportedTargetsForTest(0); }

std::vector<WeightFormat> AllFormats() {
  std::vector<WeightFormat> formats;
  for (const FormatInfo& info : kFormats) formats.push_back(info.format);
  return formats;
}

std::vector<WeightFormat> HfFormats() {
  std::vector<WeightFormat> formats;
  for (const FormatInfo& info : kFormats) {
    if (info.family == FormatFamily::kHf) formats.push_back(info.format);
  }
  return formats;
}

std::vector<int64_t> AllSimdTargets() {
  // What the machine has and what was compiled differ; a target that is not there answers with the
  // fallback's name.
  const int64_t candidates = hwy::SupportedTargets() | HWY_EMU128;
  std::vector<int64_t> targets;
  for (int bit = 0; bit < 63; ++bit) {
    const int64_t target = int64_t{1} << bit;
    if ((candidates & target) == 0) continue;
    hwy::SetSupportedTargetsForTest(target);
    if (std::string(SimdTargetName()) == hwy::TargetName(target)) targets.push_back(target);
  }
  hwy::SetSupportedTargetsForTest(0);
  return targets;
}

std::string CodecTestName(const testing::TestParamInfo<CodecTest::ParamType>& param) {
  std::string name(InfoOf(std::get<0>(param.param)).name);
  std::erase_if(name, [](char c) { return c == '.' || c == '-'; });
  return name + "_" + hwy::TargetName(std::get<1>(param.param));
}

}  // namespace tightfit
