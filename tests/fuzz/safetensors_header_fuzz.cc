// Fuzz target: headers of safetensors files, and the latents files of requests. Whatever the bytes
// are, they are refused with a reason, or their tensors cover the data without hole or overlap.
#include "server/image/latents_file.h"
#include "server/model/safetensors.h"
#include "tests/fuzz/require.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <set>
#include <string>
#include <string_view>

namespace tightfit {
namespace {

int64_t BytesOfShape(const StoredTensor& tensor) {
  int64_t count = 1;
  for (const int64_t dimension : tensor.shape) count *= dimension;
  return count * BytesOf(tensor.dtype);
}

void ParseHeader(std::string_view header, int64_t data_start_bytes, int64_t data_bytes) {
  const auto tensors = ParseSafetensorsHeader("w", header, data_start_bytes, data_bytes);
  if (!tensors.ok()) {
    Require(!tensors.status().message().empty() && tensors.status().message().size() < 400);
    return;
  }
  int64_t end = data_start_bytes;
  std::set<std::string> names;
  for (const StoredTensor& tensor : *tensors) {
    Require(tensor.offset_bytes == end);
    Require(tensor.size_bytes == BytesOfShape(tensor));
    Require(std::ssize(tensor.shape) <= kMaxSafetensorsRank);
    Require(names.insert(tensor.name).second);
    end += tensor.size_bytes;
  }
  Require(end == data_start_bytes + data_bytes);
}

void ReadLatents(std::string_view file) {
  const Result<Latents> latents = DecodeLatents(file);
  if (!latents.ok()) return;
  const int64_t count = int64_t{latents->channels} * latents->height * latents->width;
  Require(count > 0 && count == std::ssize(latents->values));
  for (const float value : latents->values) Require(std::isfinite(value));
  // What was read says all of the file but how its header is spelled.
  const Result<Latents> again = DecodeLatents(EncodeLatents(*latents));
  Require(again.ok() && again->values == latents->values);
}

}  // namespace
}  // namespace tightfit

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tightfit;
  const std::string_view file(reinterpret_cast<const char*>(data), size);
  ReadLatents(file);
  uint64_t header_bytes = 0;
  if (size < sizeof(header_bytes)) return 0;
  std::memcpy(&header_bytes, data, sizeof(header_bytes));
  const std::string_view rest = file.substr(sizeof(header_bytes));
  if (header_bytes <= rest.size()) {
    ParseHeader(rest.substr(0, header_bytes), static_cast<int64_t>(8 + header_bytes),
                static_cast<int64_t>(rest.size() - header_bytes));
  }
  // Without a right size, so that no change of the header's length keeps it from being read.
  for (const int64_t data_bytes : {int64_t{0}, int64_t{8}, int64_t{1} << 40}) {
    ParseHeader(rest, 8, data_bytes);
  }
  return 0;
}
