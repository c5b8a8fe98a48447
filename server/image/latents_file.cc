#include "server/image/latents_file.h"

#include "server/base/json_text.h"

#include <nlohmann/json.hpp>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

namespace tightfit {
namespace {

using Json = nlohmann::json;

// safetensors is little-endian.
static_assert(std::endian::native == std::endian::little);

constexpr char kTensorName[] = "latents";
constexpr uint64_t kMaxHeaderBytes = 4096;
constexpr uint64_t kMaxSide = 65536;

Status Refuse(const std::string& what) {
  return InvalidArgument(
      "must be a safetensors file of one fp32 tensor \"latents\" [channels, "
      "height, width]: " +
      what);
}

// The dimensions, without a leading 1.
std::optional<std::vector<uint64_t>> ShapeOf(const Json& tensor) {
  const auto shape = tensor.find("shape");
  if (shape == tensor.end() || !shape->is_array()) return std::nullopt;
  std::vector<uint64_t> sizes;
  for (const Json& size : *shape) {
    if (!size.is_number_unsigned() || size.get<uint64_t>() == 0 ||
        size.get<uint64_t>() > kMaxSide || sizes.size() == 4) {
      return std::nullopt;
    }
    sizes.push_back(size.get<uint64_t>());
  }
  if (sizes.size() == 4 && sizes.front() == 1) sizes.erase(sizes.begin());
  if (sizes.size() != 3) return std::nullopt;
  return sizes;
}

}  // namespace

std::string EncodeLatents(const Latents& latents) {
  const uint64_t data_bytes = latents.values.size() * sizeof(float);
  std::string header = Json{{kTensorName,
                             {{"dtype", "F32"},
                              {"shape", {latents.channels, latents.height, latents.width}},
                              {"data_offsets", {0, data_bytes}}}}}
                           .dump();
  header.append(7 - (header.size() + 7) % 8, ' ');  // the data is aligned to 8 bytes
  const uint64_t header_bytes = header.size();
  std::string file(sizeof(header_bytes), '\0');
  std::memcpy(file.data(), &header_bytes, sizeof(header_bytes));
  file += header;
  file.append(reinterpret_cast<const char*>(latents.values.data()), data_bytes);
  return file;
}

Result<Latents> DecodeLatents(std::string_view bytes) {
  uint64_t header_bytes = 0;
  if (bytes.size() < sizeof(header_bytes)) return Refuse("it is too short");
  std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
  bytes.remove_prefix(sizeof(header_bytes));
  if (header_bytes > kMaxHeaderBytes || header_bytes > bytes.size()) {
    return Refuse("its header does not fit");
  }
  const std::string_view text = bytes.substr(0, header_bytes);
  bytes.remove_prefix(header_bytes);
  if (HoldsNul(text)) return Refuse("its header is no JSON object");
  const Json::parser_callback_t limit_depth = [](int depth, Json::parse_event_t, Json&) {
    return depth <= 4;
  };
  Json header = Json::parse(text, limit_depth, /*allow_exceptions=*/false);
  if (!header.is_object()) return Refuse("its header is no JSON object");
  header.erase("__metadata__");
  const auto tensor = header.find(kTensorName);
  if (header.size() != 1 || tensor == header.end() || !tensor->is_object()) {
    return Refuse("it holds other tensors, or none");
  }
  const auto dtype = tensor->find("dtype");
  if (dtype == tensor->end() || *dtype != "F32") return Refuse("its dtype is not F32");
  const std::optional<std::vector<uint64_t>> shape = ShapeOf(*tensor);
  if (!shape.has_value()) return Refuse("its shape is another one");
  const uint64_t count = (*shape)[0] * (*shape)[1] * (*shape)[2];
  const auto offsets = tensor->find("data_offsets");
  if (count * sizeof(float) != bytes.size() || offsets == tensor->end() ||
      *offsets != Json::array({uint64_t{0}, count * sizeof(float)})) {
    return Refuse("its data does not have the size of its shape");
  }
  Latents latents{.channels = static_cast<int32_t>((*shape)[0]),
                  .height = static_cast<int32_t>((*shape)[1]),
                  .width = static_cast<int32_t>((*shape)[2]),
                  .values = std::vector<float>(count)};
  std::memcpy(latents.values.data(), bytes.data(), bytes.size());
  for (const float value : latents.values) {
    if (!std::isfinite(value)) return Refuse("it holds values that are not finite");
  }
  return latents;
}

}  // namespace tightfit
