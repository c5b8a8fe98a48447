// A small weight file with every kind of tensor that a packer meets, and how it is to be packed.
#ifndef TIGHTFIT_TESTS_UNIT_WEIGHTS_PACKING_SAMPLE_H_
#define TIGHTFIT_TESTS_UNIT_WEIGHTS_PACKING_SAMPLE_H_

#include "server/model/safetensors.h"
#include "server/model/sha256.h"
#include "server/weights/weight_table.h"
#include "tests/unit/kernels/weight_samples.h"
#include "tests/unit/model/safetensors_writer.h"
#include "tests/unit/model/temporary_directory.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace tightfit {

inline std::string BytesOfPatterns(const std::vector<uint16_t>& patterns) {
  std::string bytes(patterns.size() * sizeof(uint16_t), '\0');
  std::memcpy(bytes.data(), patterns.data(), bytes.size());
  return bytes;
}

inline std::vector<uint16_t> PatternsOf(const std::string& bytes) {
  std::vector<uint16_t> patterns(bytes.size() / sizeof(uint16_t));
  std::memcpy(patterns.data(), bytes.data(), bytes.size());
  return patterns;
}

// Names in file order; `data` holds each tensor's bytes as stored.
class PackingSample {
 public:
  PackingSample() {
    Add("a.wide.weight", "F32", {4, 8}, std::string(128, 'w'));
    Add("b.to_q.bias", "F16", {24}, Patterns(WeightSample::kTrained, 1, 24));
    Add("b.to_q.weight", "F16", {24, 40}, Patterns(WeightSample::kTrained, 24, 40));
    Add("c.conv.weight", "F16", {8, 6, 3, 3}, Patterns(WeightSample::kTrained, 8, 54));
    Add("d.empty", "F16", {0}, "");
    Add("d.point.weight", "F16", {8, 6, 1, 1}, Patterns(WeightSample::kOutliers, 8, 6));
    // Patterns of fp16 below 2 that bf16 reads as small numbers, which fp16 holds.
    Add("e.proj.weight", "BF16", {16, 32}, Patterns(WeightSample::kAnyBelowHalf, 16, 32));
    Add("f.token_embedding.weight", "F16", {10, 8}, Patterns(WeightSample::kTrained, 10, 8));
    Add("g.broken.weight", "F16", {8, 16}, Patterns(WeightSample::kNotFinite, 8, 16));
    Add("h.left_out.weight", "F16", {4, 16}, Patterns(WeightSample::kTrained, 4, 16));
    path_ = directory_.Write("w.safetensors", writer_.Bytes());
    sha256_ = Sha256::HexDigestOf(writer_.Bytes());
  }

  // Packed are b.to_q, c.conv, d.point and e.proj.
  static ComponentPacking Packing(WeightFormat format) {
    return {.format = format, .scope = {.name = "linear+conv", .exclude = {"h.left_out"}}};
  }

  std::unique_ptr<SafetensorsFile> Open() const {
    auto file = SafetensorsFile::Open(path_, "w.safetensors");
    EXPECT_TRUE(file.ok()) << file.status().message();
    return std::move(*file);
  }

  const TemporaryDirectory& directory() const { return directory_; }
  std::string PathOf(const std::string& name) const { return directory_.path() + "/" + name; }
  std::string bytes() const { return writer_.Bytes(); }
  const std::string& sha256() const { return sha256_; }
  const std::vector<std::string>& names() const { return names_; }
  const std::string& data(const std::string& name) const { return data_.at(name); }

 private:
  std::string Patterns(WeightSample sample, int64_t rows, int64_t columns) {
    return BytesOfPatterns(SampleWeights(sample, rows, columns, ++seed_));
  }

  void Add(const std::string& name, const std::string& dtype, const std::vector<int64_t>& shape,
           const std::string& bytes) {
    writer_.Add(name, dtype, shape, bytes);
    names_.push_back(name);
    data_[name] = bytes;
  }

  const TemporaryDirectory directory_;
  SafetensorsWriter writer_;
  uint32_t seed_ = 0;
  std::vector<std::string> names_;
  std::map<std::string, std::string> data_;
  std::string path_;
  std::string sha256_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_UNIT_WEIGHTS_PACKING_SAMPLE_H_
