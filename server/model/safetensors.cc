#include "server/model/safetensors.h"

#include "server/model/model_errors.h"

#include <bit>
#include <cstring>

namespace tightfit {

static_assert(std::endian::native == std::endian::little, "the header's size is little-endian");

Result<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(const std::string& path,
                                                               std::string name,
                                                               AllowedDtypes allowed) {
  std::unique_ptr<SafetensorsFile> file(new SafetensorsFile);
  TF_ASSIGN_OR_RETURN(file->reader_, FileReader::Open(path, std::move(name)));
  const FileReader& reader = *file->reader_;

  uint64_t header_bytes = 0;
  if (reader.size_bytes() < static_cast<int64_t>(sizeof(header_bytes))) {
    return FileTruncated(reader.name(), "the file is shorter than 8 bytes");
  }
  TF_RETURN_IF_ERROR(reader.ReadAt(0, sizeof(header_bytes), &header_bytes));
  if (header_bytes > static_cast<uint64_t>(kMaxSafetensorsHeaderBytes)) {
    return BadModelDirectory(reader.name(), "the header is longer than 16 MiB");
  }
  const auto data_start = static_cast<int64_t>(sizeof(header_bytes) + header_bytes);
  if (data_start > reader.size_bytes()) {
    return FileTruncated(reader.name(), "the file ends within its header");
  }
  std::string& bytes = file->header_bytes_;
  bytes.resize(static_cast<size_t>(data_start));
  TF_RETURN_IF_ERROR(reader.ReadAt(0, data_start, bytes.data()));
  const std::string_view json = std::string_view(bytes).substr(sizeof(header_bytes));
  TF_ASSIGN_OR_RETURN(file->tensors_,
                      ParseSafetensorsHeader(reader.name(), json, data_start,
                                             reader.size_bytes() - data_start, allowed));
  return file;
}

}  // namespace tightfit
