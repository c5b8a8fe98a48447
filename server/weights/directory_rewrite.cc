#include "server/weights/directory_rewrite.h"

#include "server/model/file_reader.h"
#include "server/model/model_errors.h"
#include "server/model/model_manifest.h"
#include "server/model/sha256.h"
#include "server/weights/new_file.h"
#include "server/weights/packed_checkpoint_writer.h"
#include "server/weights/scratch_buffer.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <system_error>

namespace tightfit {

std::vector<ListedFile> FilesBesideWeights(const ModelDirectory& model) {
  std::vector<ListedFile> files;
  for (const auto& [name, component] : model.components) {
    for (const auto& [dtype, graph] : component.graphs) files.push_back(graph);
  }
  for (const auto& [name, tokenizer] : model.tokenizers) {
    for (const auto& [key, file] : tokenizer) files.push_back(file);
  }
  return files;
}

Result<std::unique_ptr<NewFile>> NewFileIn(const PartialDirectory& to, const std::string& file) {
  const std::filesystem::path target(to.PathOf(file));
  std::error_code error;
  std::filesystem::create_directories(target.parent_path(), error);
  if (error) return CannotWriteFile(target.string(), error.message());
  return NewFile::Create(target.string());
}

Status CopyListedFile(const ModelDirectory& model, const ListedFile& file,
                      const PartialDirectory& to, RewriteProgress* progress) {
  constexpr int64_t kPieceBytes = 4 << 20;
  TF_ASSIGN_OR_RETURN(const auto reader, FileReader::Open(model.PathOf(file), file.file));
  if (reader->size_bytes() != file.bytes) {
    return FileTruncated(file.file, "the file has " + std::to_string(reader->size_bytes()) +
                                        " bytes, but model.json says " +
                                        std::to_string(file.bytes));
  }
  TF_ASSIGN_OR_RETURN(const auto copy, NewFileIn(to, file.file));
  ScratchBuffer piece;
  piece.Reserve(std::min(kPieceBytes, file.bytes));
  Sha256 sha256;
  for (int64_t offset = 0; offset < file.bytes; offset += kPieceBytes) {
    const int64_t size_bytes = std::min(kPieceBytes, file.bytes - offset);
    TF_RETURN_IF_ERROR(reader->ReadAt(offset, size_bytes, piece.data()));
    sha256.Update(piece.data(), static_cast<size_t>(size_bytes));
    TF_RETURN_IF_ERROR(copy->WriteAt(offset, piece.data(), size_bytes));
    if (!progress->Add(size_bytes)) return PackingStopped();
  }
  const std::string found = sha256.HexDigest();
  if (found != file.sha256) return ChecksumMismatch(file.file, file.sha256, found);
  return copy->Commit();
}

Status WriteManifest(const std::string& text, const PartialDirectory& to) {
  TF_ASSIGN_OR_RETURN(const auto file, NewFile::Create(to.PathOf(kManifestName)));
  TF_RETURN_IF_ERROR(file->WriteAt(0, text.data(), std::ssize(text)));
  TF_RETURN_IF_ERROR(file->Commit());
  return ReadModelDirectory(to.path()).status();
}

Status CheckDiskSpace(const std::string& out, int64_t needed_bytes) {
  TF_ASSIGN_OR_RETURN(const int64_t free_bytes, FreeDiskBytes(out));
  if (needed_bytes <= free_bytes) return OkStatus();
  return {StatusCode::kResourceExhausted, "DISK_FULL",
          "there is no room at " + out + ": " + SizeText(needed_bytes) + " are needed, " +
              SizeText(free_bytes) + " are free"};
}

Status Interrupted(const Status& status, const std::string& out, int64_t worth_keeping_bytes,
                   PartialDirectory* partial) {
  if (partial->finished_bytes() < worth_keeping_bytes) {
    return {status.code(), status.reason(), "nothing was written"};
  }
  partial->Keep();
  return {status.code(), status.reason(),
          out + " was not written; the same command goes on after the " +
              SizeText(partial->finished_bytes()) + " kept in " + partial->name()};
}

std::string SizeText(int64_t bytes) {
  char text[32];
  const auto number = static_cast<double>(bytes);
  if (bytes >= 1000000000) {
    std::snprintf(text, sizeof(text), "%.1f GB", number / 1e9);
  } else if (bytes >= 1000000) {
    std::snprintf(text, sizeof(text), "%.1f MB", number / 1e6);
  } else {
    std::snprintf(text, sizeof(text), "%.1f kB", number / 1e3);
  }
  return text;
}

}  // namespace tightfit
