#include "server/pipeline/profile_cache.h"

#include "server/model/file_reader.h"
#include "server/model/sha256.h"

#include <nlohmann/json.hpp>
#include <unistd.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>
#include <utility>

namespace tightfit {
namespace {

using Json = nlohmann::ordered_json;

// Of what is measured, and of how it is written.
constexpr int kVersion = 2;
constexpr int64_t kMaxFileBytes = 1 << 20;
constexpr size_t kMaxPoints = 4096;
constexpr double kMaxNumber = 0x1p60;

struct NamedNumber {
  const char* name;
  double RequestCosts::*field;
};
constexpr std::array kNumbers = std::to_array<NamedNumber>({
    {"encode_bytes", &RequestCosts::encode_bytes},
    {"encode_chunk_bytes", &RequestCosts::encode_chunk_bytes},
    {"join_row_chunk_bytes", &RequestCosts::join_row_chunk_bytes},
    {"row_bytes", &RequestCosts::row_bytes},
    {"row_latent_bytes", &RequestCosts::row_latent_bytes},
    {"row_chunk_bytes", &RequestCosts::row_chunk_bytes},
    {"kept_latent_bytes", &RequestCosts::kept_latent_bytes},
    {"denoise_row_bytes", &RequestCosts::denoise_row_bytes},
    {"cross_row_chunk_bytes", &RequestCosts::cross_row_chunk_bytes},
    {"denoise_latent_seconds", &RequestCosts::denoise_latent_seconds},
    {"decode_latent_seconds", &RequestCosts::decode_latent_seconds},
    {"encode_image_latent_seconds", &RequestCosts::encode_image_latent_seconds},
});

struct NamedLine {
  const char* name;
  CallMemory RequestCosts::*field;
};
constexpr std::array kLines = std::to_array<NamedLine>({
    {"denoise_one", &RequestCosts::denoise_one},
    {"denoise", &RequestCosts::denoise},
    {"denoise_slim", &RequestCosts::denoise_slim},
    {"cross", &RequestCosts::cross},
    {"decode", &RequestCosts::decode},
    {"encode_image", &RequestCosts::encode_image},
});

Json LineJson(const CallMemory& line) {
  Json json = Json::array();
  for (const CallMemory::Point& point : line.points) json.push_back({point.latents, point.bytes});
  return json;
}

bool ReadNumber(const Json& json, double* out) {
  if (!json.is_number()) return false;
  *out = json.get<double>();
  return *out >= 0.0 && *out <= kMaxNumber;
}

bool ReadLine(const Json& json, CallMemory* line) {
  if (!json.is_array() || json.size() > kMaxPoints) return false;
  double last = -1.0;
  for (const Json& pair : json) {
    CallMemory::Point point;
    if (!pair.is_array() || pair.size() != 2 || !ReadNumber(pair[0], &point.latents) ||
        !ReadNumber(pair[1], &point.bytes) || point.latents <= last) {
      return false;
    }
    last = point.latents;
    line->points.push_back(point);
  }
  return true;
}

bool ReadUneven(const Json& json, std::vector<UnevenMemory>* uneven) {
  if (!json.is_array() || json.size() > kMaxPoints) return false;
  for (const Json& item : json) {
    UnevenMemory memory;
    if (!item.is_object() || !item.contains("unevenness") || !item.contains("call") ||
        !ReadNumber(item["unevenness"], &memory.unevenness) ||
        !ReadLine(item["call"], &memory.call)) {
      return false;
    }
    uneven->push_back(std::move(memory));
  }
  return true;
}

}  // namespace

std::string CostsText(const std::string& key, const RequestCosts& costs) {
  Json json = {{"version", kVersion}, {"key", key}};
  for (const NamedNumber& number : kNumbers) json[number.name] = costs.*number.field;
  for (const NamedLine& line : kLines) json[line.name] = LineJson(costs.*line.field);
  json["slim_width"] = costs.slim_width;
  json["denoise_uneven"] = Json::array();
  for (const UnevenMemory& memory : costs.denoise_uneven) {
    json["denoise_uneven"].push_back(
        {{"unevenness", memory.unevenness}, {"call", LineJson(memory.call)}});
  }
  return json.dump() + "\n";
}

std::optional<RequestCosts> CostsOfText(const std::string& key, std::string_view text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || json.value("version", Json()) != kVersion ||
      json.value("key", Json()) != key) {
    return std::nullopt;
  }
  const auto find = [&json](const char* name) { return json.value(name, Json()); };
  RequestCosts costs;
  for (const NamedNumber& number : kNumbers) {
    if (!ReadNumber(find(number.name), &(costs.*number.field))) return std::nullopt;
  }
  for (const NamedLine& line : kLines) {
    if (!ReadLine(find(line.name), &(costs.*line.field))) return std::nullopt;
  }
  double slim_width = 0.0;
  if (!ReadNumber(find("slim_width"), &slim_width) || slim_width > 65536.0) return std::nullopt;
  costs.slim_width = static_cast<int32_t>(slim_width);
  if (!ReadUneven(find("denoise_uneven"), &costs.denoise_uneven)) return std::nullopt;
  return costs;
}

std::string ProfileCache::PathOf(const std::string& key) const {
  constexpr size_t kDigits = 32;
  return directory_ + "/" + Sha256::HexDigestOf(key).substr(0, kDigits) + ".json";
}

std::optional<RequestCosts> ProfileCache::Find(const std::string& key) const {
  if (directory_.empty()) return std::nullopt;
  const Result<std::unique_ptr<FileReader>> file = FileReader::Open(PathOf(key), "profile");
  if (!file.ok() || (*file)->size_bytes() > kMaxFileBytes) return std::nullopt;
  std::string text(static_cast<size_t>((*file)->size_bytes()), '\0');
  if (!(*file)->ReadAt(0, (*file)->size_bytes(), text.data()).ok()) return std::nullopt;
  return CostsOfText(key, text);
}

void ProfileCache::Keep(const std::string& key, const RequestCosts& costs) const {
  if (directory_.empty()) return;
  std::error_code error;
  std::filesystem::create_directories(directory_, error);
  const std::string path = PathOf(key);
  const std::string partial = path + "." + std::to_string(::getpid()) + ".partial";
  {
    std::ofstream file(partial, std::ios::binary | std::ios::trunc);
    file << CostsText(key, costs);
    if (!file.flush()) error = std::make_error_code(std::errc::io_error);
  }
  if (!error) std::filesystem::rename(partial, path, error);
  if (error) std::filesystem::remove(partial, error);
}

}  // namespace tightfit
