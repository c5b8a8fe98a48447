#include "server/weights/safetensors_text.h"

#include <nlohmann/json.hpp>

#include <cstring>

namespace tightfit {
namespace {

void AppendEntry(const StoredTensor& tensor, std::string* text) {
  *text += "," + nlohmann::json(tensor.name).dump(-1, ' ', /*ensure_ascii=*/true);
  *text += ":{\"dtype\":\"" + std::string(StoredDtypeName(tensor.dtype)) + "\",\"shape\":[";
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    *text += (i == 0 ? "" : ",") + std::to_string(tensor.shape[i]);
  }
  *text += "],\"data_offsets\":[" + std::to_string(tensor.offset_bytes) + "," +
           std::to_string(tensor.offset_bytes + tensor.size_bytes) + "]}";
}

}  // namespace

std::string SafetensorsStart(std::span<const StoredTensor> tensors, int64_t total_bytes) {
  uint64_t json_bytes = 0;
  std::string text(sizeof(json_bytes), '\0');
  text += R"({"__metadata__":{"format":"pt"})";
  for (const StoredTensor& tensor : tensors) AppendEntry(tensor, &text);
  text += '}';
  constexpr size_t kBorderBytes = 8;
  const size_t whole_bytes = total_bytes == 0
                                 ? (text.size() + kBorderBytes - 1) / kBorderBytes * kBorderBytes
                                 : static_cast<size_t>(total_bytes);
  text.resize(whole_bytes, ' ');
  json_bytes = text.size() - sizeof(json_bytes);
  std::memcpy(text.data(), &json_bytes, sizeof(json_bytes));
  return text;
}

}  // namespace tightfit
