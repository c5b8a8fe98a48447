// Fuzz target: shards.json. Whatever the text is, it is refused with a reason, or it says no more
// than cutting the directory of this model.json would have said.
#include "server/model/model_manifest.h"
#include "server/model/sha256.h"
#include "server/weights/shard_list.h"
#include "tests/fuzz/require.h"
#include "tests/unit/model/good_manifest.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdint>
#include <string>

namespace tightfit {
namespace {

struct CutModel {
  std::string manifest_text = GoodManifest().dump();
  ModelDirectory directory = *ParseManifest(manifest_text);
};

void CheckList(const ShardList& list, const CutModel& model) {
  const auto listed = AllListedFiles(model.directory);
  Require(list.shard_bytes > 0 && !list.files.empty());
  for (const CutFile& file : list.files) {
    const auto found = std::ranges::find(listed, file.whole.file, &ListedFile::file);
    Require(found != listed.end() && found->sha256 == file.whole.sha256);
    Require(file.shards.size() >= 2 && std::ssize(file.shards) <= kMaxShards);
    int64_t bytes = 0;
    for (const ListedFile& shard : file.shards) {
      Require(shard.file.starts_with(file.whole.file + ".part-") && IsShardName(shard.file));
      Require(shard.bytes > 0 && shard.bytes <= list.shard_bytes && shard.sha256.size() == 64);
      bytes += shard.bytes;
    }
    Require(bytes == found->bytes);
  }
  const std::string text = ShardListText(list);
  const auto again = ParseShardList(text, model.manifest_text, model.directory);
  Require(again.ok() && ShardListText(*again) == text);
}

void Parse(const std::string& text, const CutModel& model) {
  const auto list = ParseShardList(text, model.manifest_text, model.directory);
  if (list.ok()) return CheckList(*list, model);
  const std::string message = list.status().message();
  Require(!message.empty() && message.size() <= 400);
  Require(std::ranges::all_of(message, [](char c) { return c >= ' ' && c <= '~'; }));
}

// The digest becomes right, so that it does not keep the fuzzer from what lies behind.
void ParseAsItIsAndRepaired(const std::string& text) {
  static const CutModel model;
  Parse(text, model);
  auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return;
  json["manifest_sha256"] = Sha256::HexDigestOf(model.manifest_text);
  Parse(json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), model);
}

}  // namespace
}  // namespace tightfit

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tightfit::ParseAsItIsAndRepaired(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
