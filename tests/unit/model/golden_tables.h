// The published tables of every weight format: the oracle for packed weights.
#ifndef TIGHTFIT_TESTS_UNIT_MODEL_GOLDEN_TABLES_H_
#define TIGHTFIT_TESTS_UNIT_MODEL_GOLDEN_TABLES_H_

#include "kernels/format.h"
#include "tests/unit/model/temporary_directory.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace tightfit {

class GoldenTables {
 public:
  explicit GoldenTables(WeightFormat format)
      : decode_(Read(format, "decode")), encode_(Read(format, "encode")) {}

  // The fp16 pattern that remains of `fp16` once encoded. Requires it to be representable.
  uint16_t RoundTrip(uint16_t fp16) const { return decode_.at(encode_.at(fp16)); }

 private:
  static std::vector<uint16_t> Read(WeightFormat format, const std::string& table) {
    const std::string bytes =
        ReadWholeFile(std::string(TIGHTFIT_SOURCE_DIR) + "/tests/golden/" +
                      std::string(InfoOf(format).name) + "_" + table + ".u16");
    if (bytes.empty()) std::abort();
    std::vector<uint16_t> values(bytes.size() / sizeof(uint16_t));
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }

  const std::vector<uint16_t> decode_;
  const std::vector<uint16_t> encode_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_UNIT_MODEL_GOLDEN_TABLES_H_
