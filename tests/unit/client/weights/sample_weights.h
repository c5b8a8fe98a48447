// Weights for tests, and files of them.
#ifndef TIGHTFIT_TESTS_UNIT_CLIENT_WEIGHTS_SAMPLE_WEIGHTS_H_
#define TIGHTFIT_TESTS_UNIT_CLIENT_WEIGHTS_SAMPLE_WEIGHTS_H_

#include "kernels/fp16.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace tightfit::weights::testing {

// As trained weights lie: normal, of standard deviation 0.02, and so within every format.
inline std::vector<uint16_t> SampleWeights(int64_t count) {
  std::mt19937 random(1234);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  std::vector<uint16_t> fp16(static_cast<size_t>(count));
  for (uint16_t& weight : fp16) weight = Fp16OfFp32(normal(random));
  return fp16;
}

// The memory of a vector, as a file holds it.
template <typename T>
std::string BytesOf(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

inline std::string WriteFile(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<int64_t>(bytes.size()));
  return path.string();
}

}  // namespace tightfit::weights::testing

#endif  // TIGHTFIT_TESTS_UNIT_CLIENT_WEIGHTS_SAMPLE_WEIGHTS_H_
