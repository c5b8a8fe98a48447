#include "client/pack/pack_json.h"

#include <nlohmann/json.hpp>

#include <cmath>

namespace tightfit::pack {
namespace {

using Json = nlohmann::ordered_json;

std::string Document(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Json ComponentJson(const PackedComponent& component) {
  const PackedFileReport& file = component.file;
  Json json = {
      {"name", component.name},
      {"format", file.format},
      {"asked_format", component.asked.format},
      {"scope", component.asked.scope},
      {"original_bytes", component.original_bytes},
      {"bytes", file.bytes},
      {"sha256", file.sha256},
      {"original_sha256", file.original_sha256},
      {"weight_count", file.weight_count},
      {"packed_weight_count", file.packed_weight_count},
      {"packed_bytes", file.packed_bytes},
      {"packed_module_count", file.packed_module_count},
      {"bits_per_weight", file.weight_count == 0 ? 0.0
                                                 : 8.0 * static_cast<double>(file.bytes) /
                                                       static_cast<double>(file.weight_count)},
      {"was_finished", component.was_finished},
      {"unpacked_modules", Json::array()}};
  for (const DenseModule& module : file.dense_modules) {
    json["unpacked_modules"].push_back({{"module", module.module}, {"why", module.why}});
  }
  return json;
}

Json FilesJson(const std::vector<CutFile>& files) {
  const auto entry = [](const ListedFile& file) {
    return Json{{"file", file.file}, {"bytes", file.bytes}, {"sha256", file.sha256}};
  };
  Json json = Json::array();
  for (const CutFile& file : files) {
    Json whole = entry(file.whole);
    whole["shards"] = Json::array();
    for (const ListedFile& shard : file.shards) whole["shards"].push_back(entry(shard));
    json.push_back(std::move(whole));
  }
  return json;
}

}  // namespace

std::string PackDocument(const std::string& model, const std::string& out,
                         const DirectoryPackingReport& report, double seconds) {
  Json json = {
      {"model", model},      {"out", out}, {"hash", report.hash},        {"seconds", seconds},
      {"original_bytes", 0}, {"bytes", 0}, {"components", Json::array()}};
  int64_t original_bytes = 0;
  int64_t bytes = 0;
  for (const PackedComponent& component : report.components) {
    original_bytes += component.original_bytes;
    bytes += component.file.bytes;
    json["components"].push_back(ComponentJson(component));
  }
  if (report.predicted_psnr_db.has_value() && std::isfinite(*report.predicted_psnr_db)) {
    json["predicted_image_psnr_db"] = *report.predicted_psnr_db;
  }
  json["original_bytes"] = original_bytes;
  json["bytes"] = bytes;
  return Document(json);
}

std::string UnpackDocument(const std::string& model, const std::string& out,
                           const DirectoryUnpackingReport& report, double seconds) {
  Json json = {{"model", model},
               {"out", out},
               {"hash", report.hash},
               {"original_hash", report.original_hash},
               {"is_original", report.is_original()},
               {"seconds", seconds},
               {"components", Json::array()}};
  for (const UnpackedComponent& component : report.components) {
    json["components"].push_back({{"name", component.name},
                                  {"format", component.format},
                                  {"packed_bytes", component.packed_bytes},
                                  {"bytes", component.bytes},
                                  {"decoded_module_count", component.decoded_module_count},
                                  {"is_original", component.is_original}});
  }
  return Document(json);
}

std::string VerifyDocument(const std::string& model, const DirectoryCheckReport& report,
                           double seconds) {
  Json json = {{"model", model},
               {"seconds", seconds},
               {"file_count", report.file_count},
               {"tensor_count", report.tensor_count},
               {"bytes", report.bytes},
               {"damaged", Json::array()}};
  for (const DamagedPart& part : report.damaged) {
    json["damaged"].push_back({{"file", part.file},
                               {"tensor", part.tensor.empty() ? Json() : Json(part.tensor)},
                               {"reason", part.status.reason()},
                               {"message", part.status.message()}});
  }
  return Document(json);
}

std::string CutDocument(const std::string& model, const std::string& out, const ShardList& list,
                        double seconds) {
  return Document({{"model", model},
                   {"out", out},
                   {"seconds", seconds},
                   {"shard_bytes", list.shard_bytes},
                   {"files", FilesJson(list.files)}});
}

std::string JoinDocument(const std::string& model, const std::string& out,
                         const DirectoryJoinReport& report, double seconds) {
  return Document({{"model", model},
                   {"out", out},
                   {"hash", report.hash},
                   {"seconds", seconds},
                   {"files", FilesJson(report.files)}});
}

}  // namespace tightfit::pack
