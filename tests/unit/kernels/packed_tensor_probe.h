// What the codec tests share: the golden tables, one test instance per format and instruction set,
// and a reader of the packed layout that knows FORMATS.md and nothing of the codecs.
#ifndef TIGHTFIT_TESTS_UNIT_KERNELS_PACKED_TENSOR_PROBE_H_
#define TIGHTFIT_TESTS_UNIT_KERNELS_PACKED_TENSOR_PROBE_H_

#include "kernels/codec.h"
#include "kernels/format.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

namespace tightfit {

// tests/golden: the value of every code of an HF format, and the code of every fp16 pattern.
inline constexpr uint16_t kNotRepresentable = 0xFFFF;
std::vector<uint16_t> GoldenDecode(WeightFormat format);
std::vector<uint16_t> GoldenEncode(WeightFormat format);

// Every fp16 pattern that an HF format represents, in increasing order.
std::vector<uint16_t> RepresentablePatterns(WeightFormat format);

// `count` representable patterns in a fixed disorder; different seeds begin elsewhere.
std::vector<uint16_t> SomePatterns(WeightFormat format, int64_t count, uint32_t seed);

// The code of one weight, read bit by bit by the layout's definition.
uint32_t PackedCode(const PackedLayout& layout, const std::vector<uint8_t>& packed, int64_t row,
                    int64_t column);

// Encodes a whole tensor. Requires fp16.size() == rows * columns, and what PlanEncoding gave.
std::vector<uint8_t> Pack(const PackedLayout& layout, const std::vector<uint16_t>& fp16);

// Memory for `size` elements between two guards that a stray write would hit.
template <typename T>
class Guarded {
 public:
  // `misalignment`: elements that the memory begins after a 64-byte border.
  explicit Guarded(int64_t size, int64_t misalignment = 0);
  T* begin() { return elements_.data() + begin_; }
  T operator[](int64_t i) const { return elements_[begin_ + i]; }
  // False once something was written outside.
  bool GuardsIntact() const;

 private:
  static constexpr int64_t kGuard = 128;
  std::vector<T> elements_;
  int64_t begin_;
  int64_t size_;
};

// One instance per format and instruction set that both this machine and the build have.
class CodecTest : public testing::TestWithParam<std::tuple<WeightFormat, int64_t>> {
 protected:
  void SetUp() override;
  void TearDown() override;
  WeightFormat format() const { return std::get<0>(GetParam()); }
  const FormatInfo& info() const { return InfoOf(format()); }
};

std::vector<WeightFormat> AllFormats();
std::vector<WeightFormat> HfFormats();  // those with golden tables
std::vector<int64_t> AllSimdTargets();
std::string CodecTestName(const testing::TestParamInfo<CodecTest::ParamType>& param);

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_UNIT_KERNELS_PACKED_TENSOR_PROBE_H_
