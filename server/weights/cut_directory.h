// CutDirectory, JoinDirectory: a packed model directory for a hub that limits the size of a file,
// and the way back, to the byte. deploy/export/MODEL_DIRECTORY.md, "Cut for an upload". Free of
// LibTorch.
#ifndef TIGHTFIT_SERVER_WEIGHTS_CUT_DIRECTORY_H_
#define TIGHTFIT_SERVER_WEIGHTS_CUT_DIRECTORY_H_

#include "server/base/status.h"
#include "server/weights/directory_rewrite.h"
#include "server/weights/packed_directory.h"
#include "server/weights/shard_list.h"

#include <cstdint>
#include <string>

namespace tightfit {

struct DirectoryCutting {
  std::string model;
  std::string out;
  int64_t shard_bytes = 0;  // at least 1
  int64_t worth_keeping_bytes = kWorthKeepingBytes;
};

// Makes `out`, whole or not at all: every file of `model` that is larger than `shard_bytes` in
// shards, all others as they are, and shards.json. A run that was interrupted is gone on with.
// Errors: ReadModelDirectory's; NOT_PACKED; NOTHING_TO_CUT if no file is so large; TOO_MANY_SHARDS;
// FILE_TRUNCATED, CHECKSUM_MISMATCH of a damaged file; DISK_FULL; CANNOT_WRITE; PACKING_STOPPED.
Result<ShardList> CutDirectory(const DirectoryCutting& cutting, const DirectoryProgress& progress);

struct DirectoryJoining {
  std::string directory;  // that CutDirectory made
  std::string out;
  int64_t worth_keeping_bytes = kWorthKeepingBytes;
};

struct DirectoryJoinReport {
  std::string hash;  // of the model
  std::vector<CutFile> files;
};

// Makes `out`, whole or not at all: the files of the directory that was cut, which are all checked
// before anything is written. Errors: as CutDirectory; NOT_CUT; BAD_MODEL_DIRECTORY of a
// shards.json that is not of this directory, and of shards that it does not list.
Result<DirectoryJoinReport> JoinDirectory(const DirectoryJoining& joining,
                                          const DirectoryProgress& progress);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_CUT_DIRECTORY_H_
