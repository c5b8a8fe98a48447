// Bytes of safetensors files, right and wrong ones, made without the code under test.
#ifndef TIGHTFIT_TESTS_UNIT_MODEL_SAFETENSORS_WRITER_H_
#define TIGHTFIT_TESTS_UNIT_MODEL_SAFETENSORS_WRITER_H_

#include <cstdint>
#include <cstring>
#include <sstream>
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
    std::ostringstream entry;
    entry << (header_.empty() ? "{" : ",") << '"' << name << "\":{\"dtype\":\"" << dtype
          << "\",\"shape\":[";
    for (size_t i = 0; i < shape.size(); ++i) entry << (i == 0 ? "" : ",") << shape[i];
    entry << "],\"data_offsets\":[" << data_.size() << ',' << data_.size() + data.size() << "]}";
    header_ += entry.str();
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
