#include "server/weights/shard_list.h"

#include "server/model/checked_json.h"
#include "server/model/file_reader.h"
#include "server/model/model_errors.h"
#include "server/model/sha256.h"
#include "server/weights/directory_rewrite.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <set>
#include <utility>

namespace tightfit {
namespace {

using ShardJson = nlohmann::ordered_json;

constexpr int64_t kMaxShardListBytes = 4 << 20;
constexpr std::string_view kPartWord = ".part-";
constexpr std::string_view kOfWord = "-of-";

Status BadShardList(const std::string& problem) {
  return BadModelDirectory(kShardListName, problem);
}

bool IsDigits(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

std::string Quoted(const std::string& name) { return "\"" + Shown(name) + "\""; }

// {"file", "bytes", "sha256"}, nullopt for anything else.
std::optional<ListedFile> FileOf(const nlohmann::json& json) {
  if (!json.is_object()) return std::nullopt;
  const auto file = json.find("file");
  const auto bytes = json.find("bytes");
  const auto sha256 = json.find("sha256");
  if (file == json.end() || !file->is_string()) return std::nullopt;
  if (bytes == json.end() || !bytes->is_number_unsigned()) return std::nullopt;
  if (sha256 == json.end() || !sha256->is_string()) return std::nullopt;
  ListedFile listed{.file = *file, .bytes = 0, .sha256 = *sha256};
  const auto size_bytes = bytes->get<uint64_t>();
  if (size_bytes > uint64_t{1} << 62 || !IsHexDigest(listed.sha256)) return std::nullopt;
  listed.bytes = static_cast<int64_t>(size_bytes);
  return listed;
}

// Holds one entry of "files" against what the file would have been cut into.
Result<CutFile> CutFileOf(const nlohmann::json& json, int64_t shard_bytes,
                          const std::vector<ListedFile>& listed_files) {
  const std::optional<ListedFile> whole = FileOf(json);
  if (!whole.has_value()) {
    return BadShardList("an entry of \"files\" lacks file, bytes or sha256");
  }
  const auto listed = std::ranges::find(listed_files, whole->file, &ListedFile::file);
  if (listed == listed_files.end()) {
    return BadShardList(Quoted(whole->file) + " is no file that model.json lists");
  }
  if (whole->bytes != listed->bytes || whole->sha256 != listed->sha256) {
    return BadShardList(Quoted(whole->file) + " has another size or SHA-256 than in model.json");
  }
  if (whole->bytes <= shard_bytes || (whole->bytes - 1) / shard_bytes >= kMaxShards) {
    return BadShardList(Quoted(whole->file) + " is not cut into 2 to 999 shards of shard_bytes");
  }
  CutFile cut{.whole = *whole, .shards = ShardsOf(*whole, shard_bytes)};
  const auto shards = json.find("shards");
  if (shards == json.end() || !shards->is_array() || shards->size() != cut.shards.size()) {
    return BadShardList(Quoted(whole->file) + " must have " + std::to_string(cut.shards.size()) +
                        " shards");
  }
  for (size_t i = 0; i < cut.shards.size(); ++i) {
    const std::optional<ListedFile> shard = FileOf((*shards)[i]);
    ListedFile& wanted = cut.shards[i];
    if (!shard.has_value()) {
      return BadShardList("the entry of " + wanted.file + " lacks file, bytes or sha256");
    }
    if (shard->file != wanted.file) {
      return BadShardList(Quoted(shard->file) + " stands where " + wanted.file + " must");
    }
    if (shard->bytes != wanted.bytes) {
      return BadShardList(wanted.file + " must have " + std::to_string(wanted.bytes) +
                          " bytes, not " + std::to_string(shard->bytes));
    }
    wanted.sha256 = shard->sha256;
  }
  return cut;
}

}  // namespace

std::vector<ListedFile> AllListedFiles(const ModelDirectory& model) {
  std::vector<ListedFile> files;
  std::set<std::string> names;
  const auto add = [&](const ListedFile& file) {
    if (names.insert(file.file).second) files.push_back(file);
  };
  for (const std::string& name : ComponentNamesOf(model)) add(model.components.at(name).weights);
  for (const ListedFile& file : FilesBesideWeights(model)) add(file);
  if (model.sensitivity.has_value()) add(*model.sensitivity);
  return files;
}

std::vector<ListedFile> ShardsOf(const ListedFile& whole, int64_t shard_bytes) {
  const int64_t count = (whole.bytes - 1) / shard_bytes + 1;
  std::vector<ListedFile> shards;
  for (int64_t i = 0; i < count; ++i) {
    char part[32];
    std::snprintf(part, sizeof(part), ".part-%03d-of-%03d", static_cast<int>(i + 1),
                  static_cast<int>(count));
    shards.push_back({.file = whole.file + part,
                      .bytes = std::min(shard_bytes, whole.bytes - i * shard_bytes),
                      .sha256 = {}});
  }
  return shards;
}

bool IsShardName(std::string_view name) {
  const size_t of = name.rfind(kOfWord);
  const size_t part = name.rfind(kPartWord, of);
  if (of == std::string_view::npos || part == std::string_view::npos) return false;
  const size_t number = part + kPartWord.size();
  return number <= of && IsDigits(name.substr(number, of - number)) &&
         IsDigits(name.substr(of + kOfWord.size()));
}

std::string ShardListText(const ShardList& list) {
  ShardJson json = {{"version", kShardListVersion},
                    {"shard_bytes", list.shard_bytes},
                    {"manifest_sha256", list.manifest_sha256},
                    {"files", ShardJson::array()}};
  const auto entry = [](const ListedFile& file) {
    return ShardJson{{"file", file.file}, {"bytes", file.bytes}, {"sha256", file.sha256}};
  };
  for (const CutFile& cut : list.files) {
    ShardJson file = entry(cut.whole);
    file["shards"] = ShardJson::array();
    for (const ListedFile& shard : cut.shards) file["shards"].push_back(entry(shard));
    json["files"].push_back(std::move(file));
  }
  return json.dump(2) + "\n";
}

Result<ShardList> ParseShardList(const std::string& text, const std::string& manifest_text,
                                 const ModelDirectory& model) {
  TF_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJsonObject(text, kShardListName));
  if (json.value("version", nlohmann::json()) != kShardListVersion) {
    return BadShardList("its version is not 1; take a newer tightfit");
  }
  const nlohmann::json shard_bytes = json.value("shard_bytes", nlohmann::json());
  if (!shard_bytes.is_number_unsigned() || shard_bytes.get<uint64_t>() == 0 ||
      shard_bytes.get<uint64_t>() > uint64_t{1} << 62) {
    return BadShardList("shard_bytes is no number above 0");
  }
  ShardList list{.shard_bytes = static_cast<int64_t>(shard_bytes.get<uint64_t>()),
                 .manifest_sha256 = Sha256::HexDigestOf(manifest_text),
                 .files = {}};
  if (json.value("manifest_sha256", nlohmann::json()) != list.manifest_sha256) {
    return BadShardList("model.json is not the one that was cut: manifest_sha256 differs");
  }
  const nlohmann::json files = json.value("files", nlohmann::json());
  if (!files.is_array() || files.empty()) return BadShardList("\"files\" is no list of files");
  const std::vector<ListedFile> listed_files = AllListedFiles(model);
  std::set<std::string> names;
  for (const nlohmann::json& file : files) {
    TF_ASSIGN_OR_RETURN(CutFile cut, CutFileOf(file, list.shard_bytes, listed_files));
    if (!names.insert(cut.whole.file).second) {
      return BadShardList(Quoted(cut.whole.file) + " stands there twice");
    }
    list.files.push_back(std::move(cut));
  }
  return list;
}

Result<ShardList> ReadShardList(const ModelDirectory& model, const std::string& manifest_text,
                                std::string* text) {
  const auto reader = FileReader::Open(model.path + "/" + kShardListName, kShardListName);
  if (!reader.ok()) {
    return Status(StatusCode::kFailedPrecondition, "NOT_CUT",
                  model.path + " has no shards.json: it is not cut, there is nothing to join");
  }
  if ((*reader)->size_bytes() > kMaxShardListBytes) {
    return BadShardList("the file is larger than 4 MiB");
  }
  text->resize(static_cast<size_t>((*reader)->size_bytes()));
  TF_RETURN_IF_ERROR((*reader)->ReadAt(0, (*reader)->size_bytes(), text->data()));
  return ParseShardList(*text, manifest_text, model);
}

}  // namespace tightfit
