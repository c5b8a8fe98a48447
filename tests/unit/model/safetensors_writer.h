// Bytes of safetensors files, right and wrong ones, made without the code under test.
#ifndef TIGHTFIT_TESTS_UNIT_MODEL_SAFETENSORS_WRITER_H_
#define TIGHTFIT_TESTS_UNIT_MODEL_SAFETENSORS_WRITER_H_

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tightfit {

// The size of `header`, then `header`, then `data`.
inline std::string SafetensorsBytes(std::string_view header, std::string_view data) {
  const uint64_t size = header.size();
  std::string bytes(sizeof(size), '\0');
  std::memcpy(bytes.data(), &size, sizeof(size));
  return bytes.append(header).append(data);
}

class SafetensorsWriter {
 public:
  // `dtype`: "F16", "BF16", "F32". `data`: the tensor's bytes.
  void Add(const std::string& name, std::string_view dtype, const std::vector<int64_t>& shape,
           std::string_view data) {
    std::string dimensions;
    for (const int64_t dimension : shape) {
      dimensions += (dimensions.empty() ? "" : ",") + std::to_string(dimension);
    }
    header_ += (header_.empty() ? "{" : ",");
    header_ += "\"" + name + "\":{\"dtype\":\"" + std::string(dtype) + "\",\"shape\":[" +
               dimensions + "],\"data_offsets\":[" + std::to_string(data_.size()) + "," +
               std::to_string(data_.size() + data.size()) + "]}";
    data_ += data;
  }

  std::string Bytes() const {
    return SafetensorsBytes(header_.empty() ? "{}" : header_ + "}", data_);
  }

 private:
  std::string header_;
  std::string data_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_UNIT_MODEL_SAFETENSORS_WRITER_H_
