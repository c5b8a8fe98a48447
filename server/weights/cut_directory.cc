#include "server/weights/cut_directory.h"

#include "server/model/file_reader.h"
#include "server/model/model_errors.h"
#include "server/model/model_manifest.h"
#include "server/model/sha256.h"
#include "server/weights/new_file.h"
#include "server/weights/packed_checkpoint_writer.h"
#include "server/weights/scratch_buffer.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <set>
#include <system_error>
#include <utility>

namespace tightfit {
namespace {

constexpr int64_t kCopyPieceBytes = 4 << 20;
constexpr int kCutKeyDigits = 16;

Status NotTheShard(const ListedFile& shard, const std::string& problem) {
  return {StatusCode::kDataLoss, "CHECKSUM_MISMATCH", shard.file + ": " + problem};
}

Result<std::unique_ptr<FileReader>> OpenShard(const std::string& directory,
                                              const ListedFile& shard) {
  TF_ASSIGN_OR_RETURN(auto reader, FileReader::Open(directory + "/" + shard.file, shard.file));
  if (reader->size_bytes() != shard.bytes) {
    return FileTruncated(shard.file, "the shard has " + std::to_string(reader->size_bytes()) +
                                         " bytes, but shards.json says " +
                                         std::to_string(shard.bytes));
  }
  return reader;
}

// Reads `size_bytes` from `offset_bytes` on piece by piece.
template <typename Take>
Status ForPieces(const FileReader& reader, int64_t offset_bytes, int64_t size_bytes,
                 const Take& take) {
  ScratchBuffer piece;
  piece.Reserve(std::min(kCopyPieceBytes, size_bytes));
  for (int64_t done = 0; done < size_bytes; done += kCopyPieceBytes) {
    const int64_t bytes = std::min(kCopyPieceBytes, size_bytes - done);
    TF_RETURN_IF_ERROR(reader.ReadAt(offset_bytes + done, bytes, piece.data()));
    TF_RETURN_IF_ERROR(take(done, piece.data(), bytes));
  }
  return OkStatus();
}

// Whether a file that an earlier run finished is still what it was; else it is forgotten.
Result<bool> IsStillWhole(const ListedFile& file, PartialDirectory* partial,
                          RewriteProgress* progress) {
  const Status whole =
      CheckListedFile(partial->path(), file, [progress](int64_t) { return progress->Add(0); });
  if (whole.ok()) return true;
  if (whole.code() == StatusCode::kCancelled) return whole;
  TF_RETURN_IF_ERROR(partial->Forget(file.file));
  return false;
}

Status WriteText(const std::string& text, const std::string& name,
                 const PartialDirectory& partial) {
  TF_ASSIGN_OR_RETURN(const auto file, NewFile::Create(partial.PathOf(name)));
  TF_RETURN_IF_ERROR(file->WriteAt(0, text.data(), std::ssize(text)));
  return file->Commit();
}

// What both ways end with.
Status PublishUnlessStopped(Status status, const std::string& out, int64_t worth_keeping_bytes,
                            RewriteProgress* progress, PartialDirectory* partial) {
  progress->Begin("to the disk");
  if (status.ok() && !progress->Add(0)) status = PackingStopped();
  if (status.ok()) status = partial->Publish();
  if (status.code() != StatusCode::kCancelled) return status;
  return Interrupted(PackingStopped(), out, worth_keeping_bytes, partial);
}

class Cutting {
 public:
  explicit Cutting(const DirectoryCutting& cutting) : cutting_(cutting) {}

  Result<ShardList> Run(const DirectoryProgress& progress) {
    TF_RETURN_IF_ERROR(Plan());
    TF_ASSIGN_OR_RETURN(partial_, PartialDirectory::Open(cutting_.out, Key()));
    TF_RETURN_IF_ERROR(CheckDiskSpace(cutting_.out, all_bytes_ - partial_->finished_bytes()));
    RewriteProgress rewrite(progress, all_bytes_);
    TF_RETURN_IF_ERROR(PublishUnlessStopped(
        WriteAll(&rewrite), cutting_.out, cutting_.worth_keeping_bytes, &rewrite, partial_.get()));
    return std::move(list_);
  }

 private:
  Status Plan() {
    TF_ASSIGN_OR_RETURN(manifest_text_, ReadManifestText(cutting_.model));
    TF_ASSIGN_OR_RETURN(model_, ReadModelDirectory(cutting_.model));
    if (!IsPackedDirectory(model_)) {
      return {StatusCode::kFailedPrecondition, "NOT_PACKED",
              cutting_.model + " is not packed; pack it first: tightfit pack " + cutting_.model +
                  " --out DIR"};
    }
    list_.shard_bytes = cutting_.shard_bytes;
    list_.manifest_sha256 = Sha256::HexDigestOf(manifest_text_);
    for (const ListedFile& file : AllListedFiles(model_)) {
      TF_RETURN_IF_ERROR(CheckListedSize(model_.path, file));
      all_bytes_ += file.bytes;
      if (file.bytes <= cutting_.shard_bytes) {
        small_.push_back(file);
      } else if ((file.bytes - 1) / cutting_.shard_bytes >= kMaxShards) {
        return {StatusCode::kInvalidArgument, "TOO_MANY_SHARDS",
                file.file + ": more than " + std::to_string(kMaxShards) + " shards of " +
                    std::to_string(cutting_.shard_bytes) + " bytes; take larger ones"};
      } else {
        list_.files.push_back({.whole = file, .shards = ShardsOf(file, cutting_.shard_bytes)});
      }
    }
    if (!list_.files.empty()) return OkStatus();
    return {StatusCode::kFailedPrecondition, "NOTHING_TO_CUT",
            "no file of " + cutting_.model + " is larger than " +
                std::to_string(cutting_.shard_bytes) + " bytes; upload it as it is"};
  }

  std::string Key() const {
    return Sha256::HexDigestOf("cut " + std::to_string(kShardListVersion) + " " +
                               std::to_string(cutting_.shard_bytes) + "\n" + manifest_text_)
        .substr(0, kCutKeyDigits);
  }

  Status WriteAll(RewriteProgress* progress) {
    for (CutFile& file : list_.files) TF_RETURN_IF_ERROR(Cut(&file, progress));
    progress->Begin("other files");
    for (const ListedFile& file : small_) {
      TF_RETURN_IF_ERROR(CopyListedFile(model_, file, *partial_, progress));
    }
    TF_RETURN_IF_ERROR(WriteText(ShardListText(list_), kShardListName, *partial_));
    return WriteText(manifest_text_, kManifestName, *partial_);
  }

  // The SHA-256 of the whole file is that of what was read for its shards, so that a source that
  // changes on the way is found too.
  Status Cut(CutFile* file, RewriteProgress* progress) {
    TF_ASSIGN_OR_RETURN(const auto reader,
                        FileReader::Open(model_.PathOf(file->whole), file->whole.file));
    Sha256 whole_sha256;
    int64_t offset_bytes = 0;
    for (ListedFile& shard : file->shards) {
      progress->Begin(shard.file);
      TF_ASSIGN_OR_RETURN(const bool is_there, IsFinished(shard, progress));
      std::unique_ptr<NewFile> copy;
      if (!is_there) {
        TF_ASSIGN_OR_RETURN(copy, NewFileIn(*partial_, shard.file));
      }
      Sha256 sha256;
      TF_RETURN_IF_ERROR(ForPieces(*reader, offset_bytes, shard.bytes,
                                   [&](int64_t at, const uint8_t* bytes, int64_t size) -> Status {
                                     whole_sha256.Update(bytes, static_cast<size_t>(size));
                                     sha256.Update(bytes, static_cast<size_t>(size));
                                     if (copy != nullptr) {
                                       TF_RETURN_IF_ERROR(copy->WriteAt(at, bytes, size));
                                     }
                                     return progress->Add(size) ? OkStatus() : PackingStopped();
                                   }));
      const std::string found = sha256.HexDigest();
      if (copy != nullptr) {
        TF_RETURN_IF_ERROR(copy->Commit());
        TF_RETURN_IF_ERROR(partial_->Finish(shard.file, {.bytes = shard.bytes, .record = found}));
      } else if (found != shard.sha256) {
        return ChecksumMismatch(file->whole.file, shard.sha256, found);
      }
      shard.sha256 = found;
      offset_bytes += shard.bytes;
    }
    const std::string found = whole_sha256.HexDigest();
    if (found == file->whole.sha256) return OkStatus();
    return ChecksumMismatch(file->whole.file, file->whole.sha256, found);
  }

  // Whether an earlier run wrote the shard and it is still what it was: its SHA-256 is set then.
  Result<bool> IsFinished(ListedFile& shard, RewriteProgress* progress) {
    const auto found = partial_->finished().find(shard.file);
    if (found == partial_->finished().end()) return false;
    shard.sha256 = found->second.record;
    return IsStillWhole(shard, partial_.get(), progress);
  }

  const DirectoryCutting& cutting_;
  std::string manifest_text_;
  ModelDirectory model_;
  ShardList list_;
  std::vector<ListedFile> small_;
  int64_t all_bytes_ = 0;
  std::unique_ptr<PartialDirectory> partial_;
};

class Joining {
 public:
  explicit Joining(const DirectoryJoining& joining) : joining_(joining) {}

  Result<DirectoryJoinReport> Run(const DirectoryProgress& progress) {
    TF_RETURN_IF_ERROR(Plan());
    RewriteProgress rewrite(progress, 2 * all_bytes_);
    rewrite.Begin("checking");
    Status checked = CheckAll(&rewrite);
    if (checked.code() == StatusCode::kCancelled) {
      return Status(checked.code(), "PACKING_STOPPED", "nothing was written");
    }
    TF_RETURN_IF_ERROR(checked);
    TF_ASSIGN_OR_RETURN(partial_, PartialDirectory::Open(joining_.out, Key()));
    TF_RETURN_IF_ERROR(CheckDiskSpace(joining_.out, all_bytes_ - partial_->finished_bytes()));
    TF_RETURN_IF_ERROR(PublishUnlessStopped(
        WriteAll(&rewrite), joining_.out, joining_.worth_keeping_bytes, &rewrite, partial_.get()));
    return DirectoryJoinReport{.hash = model_.hash, .files = std::move(list_.files)};
  }

 private:
  // Names and sizes, which take no time.
  Status Plan() {
    TF_ASSIGN_OR_RETURN(manifest_text_, ReadManifestText(joining_.directory));
    TF_ASSIGN_OR_RETURN(model_, ParseManifest(manifest_text_));
    model_.path = joining_.directory;
    TF_ASSIGN_OR_RETURN(list_, ReadShardList(model_, manifest_text_, &list_text_));
    std::set<std::string> cut;
    for (const CutFile& file : list_.files) {
      cut.insert(file.whole.file);
      for (const ListedFile& shard : file.shards) {
        TF_RETURN_IF_ERROR(OpenShard(model_.path, shard).status());
      }
    }
    for (const ListedFile& file : AllListedFiles(model_)) {
      all_bytes_ += file.bytes;
      if (cut.contains(file.file)) continue;
      TF_RETURN_IF_ERROR(CheckListedSize(model_.path, file));
      small_.push_back(file);
    }
    return CheckNoOthers();
  }

  // Shards that shards.json does not know are of another upload, or of one that went wrong.
  Status CheckNoOthers() const {
    namespace fs = std::filesystem;
    std::set<std::string> known;
    std::set<std::string> folders = {""};
    for (const CutFile& file : list_.files) {
      for (const ListedFile& shard : file.shards) {
        known.insert(shard.file);
        folders.insert(fs::path(shard.file).parent_path().string());
      }
    }
    for (const std::string& folder : folders) {
      std::error_code error;
      for (const auto& entry : fs::directory_iterator(fs::path(model_.path) / folder, error)) {
        const std::string name = (fs::path(folder) / entry.path().filename()).string();
        if (IsShardName(name) && !known.contains(name)) {
          return BadModelDirectory(Shown(name), "no shard that shards.json lists; remove it");
        }
      }
      if (error) return FileMissing(kManifestName, error.message());
    }
    return OkStatus();
  }

  Status CheckAll(RewriteProgress* progress) const {
    for (const CutFile& file : list_.files) {
      Sha256 whole_sha256;
      for (const ListedFile& shard : file.shards) {
        TF_RETURN_IF_ERROR(ReadShard(shard, progress, [&](const uint8_t* bytes, int64_t size) {
          whole_sha256.Update(bytes, static_cast<size_t>(size));
          return OkStatus();
        }));
      }
      if (whole_sha256.HexDigest() != file.whole.sha256) {
        return NotTheShard(file.whole,
                           "its shards together have not the SHA-256 that model.json says");
      }
    }
    for (const ListedFile& file : small_) {
      TF_RETURN_IF_ERROR(CheckListedFile(model_.path, file, progress->ForBytes()));
    }
    return OkStatus();
  }

  template <typename Take>
  Status ReadShard(const ListedFile& shard, RewriteProgress* progress, const Take& take) const {
    TF_ASSIGN_OR_RETURN(const auto reader, OpenShard(model_.path, shard));
    Sha256 sha256;
    TF_RETURN_IF_ERROR(ForPieces(*reader, 0, shard.bytes,
                                 [&](int64_t, const uint8_t* bytes, int64_t size) -> Status {
                                   sha256.Update(bytes, static_cast<size_t>(size));
                                   TF_RETURN_IF_ERROR(take(bytes, size));
                                   return progress->Add(size) ? OkStatus() : PackingStopped();
                                 }));
    if (sha256.HexDigest() == shard.sha256) return OkStatus();
    return NotTheShard(shard, "its SHA-256 is not the one of shards.json");
  }

  std::string Key() const {
    return Sha256::HexDigestOf("join\n" + list_text_ + manifest_text_).substr(0, kCutKeyDigits);
  }

  Status WriteAll(RewriteProgress* progress) {
    for (const CutFile& file : list_.files) TF_RETURN_IF_ERROR(Join(file, progress));
    progress->Begin("other files");
    for (const ListedFile& file : small_) {
      TF_RETURN_IF_ERROR(CopyListedFile(model_, file, *partial_, progress));
    }
    return WriteManifest(manifest_text_, *partial_);
  }

  Status Join(const CutFile& file, RewriteProgress* progress) {
    progress->Begin(file.whole.file);
    if (partial_->finished().contains(file.whole.file)) {
      TF_ASSIGN_OR_RETURN(const bool is_there, IsStillWhole(file.whole, partial_.get(), progress));
      if (is_there) return progress->Add(file.whole.bytes) ? OkStatus() : PackingStopped();
    }
    TF_ASSIGN_OR_RETURN(const auto copy, NewFileIn(*partial_, file.whole.file));
    int64_t at = 0;
    for (const ListedFile& shard : file.shards) {
      TF_RETURN_IF_ERROR(
          ReadShard(shard, progress, [&](const uint8_t* bytes, int64_t size) -> Status {
            TF_RETURN_IF_ERROR(copy->WriteAt(at, bytes, size));
            at += size;
            return OkStatus();
          }));
    }
    TF_RETURN_IF_ERROR(copy->Commit());
    return partial_->Finish(file.whole.file, {.bytes = file.whole.bytes, .record = "joined"});
  }

  const DirectoryJoining& joining_;
  std::string manifest_text_;
  std::string list_text_;
  ModelDirectory model_;
  ShardList list_;
  std::vector<ListedFile> small_;
  int64_t all_bytes_ = 0;
  std::unique_ptr<PartialDirectory> partial_;
};

}  // namespace

Result<ShardList> CutDirectory(const DirectoryCutting& cutting, const DirectoryProgress& progress) {
  return Cutting(cutting).Run(progress);
}

Result<DirectoryJoinReport> JoinDirectory(const DirectoryJoining& joining,
                                          const DirectoryProgress& progress) {
  return Joining(joining).Run(progress);
}

}  // namespace tightfit
