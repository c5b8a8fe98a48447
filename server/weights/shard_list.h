// shards.json: how the large files of a model directory are cut for a hub that limits the size of a
// file. deploy/export/MODEL_DIRECTORY.md, "Cut for an upload", specifies it. Free of LibTorch.
#ifndef TIGHTFIT_SERVER_WEIGHTS_SHARD_LIST_H_
#define TIGHTFIT_SERVER_WEIGHTS_SHARD_LIST_H_

#include "server/base/status.h"
#include "server/model/listed_file.h"
#include "server/model/model_directory.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tightfit {

inline constexpr int kShardListVersion = 1;
inline constexpr int64_t kMaxShards = 999;  // of one file: their number has three digits

// A listed file and what it is cut into, in order.
struct CutFile {
  ListedFile whole;
  std::vector<ListedFile> shards;
};

struct ShardList {
  int64_t shard_bytes = 0;  // of every shard of a file but its last
  std::string manifest_sha256;
  std::vector<CutFile> files;
};

// Every file that model.json lists, each once: weights first.
std::vector<ListedFile> AllListedFiles(const ModelDirectory& model);

// The shards that a file becomes, without their SHA-256. Requires shard_bytes > 0 and a file larger
// than that and of at most kMaxShards shards.
std::vector<ListedFile> ShardsOf(const ListedFile& whole, int64_t shard_bytes);

// Whether a file has the name of a shard, of whatever file.
bool IsShardName(std::string_view name);

std::string ShardListText(const ShardList& list);
// `manifest_text` and `model` are of the same directory. Errors: BAD_MODEL_DIRECTORY for anything
// that cutting this very directory would not have written, digests of shards aside.
Result<ShardList> ParseShardList(const std::string& text, const std::string& manifest_text,
                                 const ModelDirectory& model);
// Reads and parses. Errors: NOT_CUT if there is no shards.json; ParseShardList's.
Result<ShardList> ReadShardList(const ModelDirectory& model, const std::string& manifest_text,
                                std::string* text);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_SHARD_LIST_H_
