#include "server/model/listed_file.h"

#include "server/base/load_stop.h"
#include "server/model/file_reader.h"
#include "server/model/model_errors.h"
#include "server/model/sha256.h"

#include <algorithm>
#include <memory>
#include <vector>

namespace tightfit {
namespace {

// The file, if it has the size that model.json says.
Result<std::unique_ptr<FileReader>> OpenListedFile(const std::string& directory,
                                                   const ListedFile& file) {
  TF_ASSIGN_OR_RETURN(std::unique_ptr<FileReader> reader,
                      FileReader::Open(directory + "/" + file.file, file.file));
  if (reader->size_bytes() != file.bytes) {
    return FileTruncated(file.file, "the file has " + std::to_string(reader->size_bytes()) +
                                        " bytes, but model.json says " +
                                        std::to_string(file.bytes));
  }
  return reader;
}

}  // namespace

Result<std::string> ReadListedFile(const std::string& directory, const ListedFile& file,
                                   int64_t max_bytes) {
  TF_ASSIGN_OR_RETURN(const std::unique_ptr<FileReader> reader, OpenListedFile(directory, file));
  if (file.bytes > max_bytes) {
    return BadModelDirectory(file.file,
                             "the file is larger than " + std::to_string(max_bytes) + " bytes");
  }
  std::string bytes(static_cast<size_t>(file.bytes), '\0');
  TF_RETURN_IF_ERROR(reader->ReadAt(0, file.bytes, bytes.data()));
  const std::string found = Sha256::HexDigestOf(bytes);
  if (found != file.sha256) return ChecksumMismatch(file.file, file.sha256, found);
  return bytes;
}

Status CheckListedSize(const std::string& directory, const ListedFile& file) {
  return OpenListedFile(directory, file).status();
}

Status CheckListedFile(const std::string& directory, const ListedFile& file,
                       const std::function<bool(int64_t)>& progress) {
  constexpr int64_t kPieceBytes = 4 << 20;
  TF_ASSIGN_OR_RETURN(const std::unique_ptr<FileReader> reader, OpenListedFile(directory, file));
  Sha256 sha256;
  std::vector<char> piece(static_cast<size_t>(std::min(kPieceBytes, file.bytes)));
  for (int64_t offset = 0; offset < file.bytes; offset += kPieceBytes) {
    const int64_t size_bytes = std::min(kPieceBytes, file.bytes - offset);
    TF_RETURN_IF_ERROR(reader->ReadAt(offset, size_bytes, piece.data()));
    sha256.Update(piece.data(), static_cast<size_t>(size_bytes));
    if (progress && !progress(size_bytes)) return LoadStopped();
  }
  const std::string found = sha256.HexDigest();
  return found == file.sha256 ? OkStatus() : ChecksumMismatch(file.file, file.sha256, found);
}

}  // namespace tightfit
