// The safetensors format: u64 header size (little-endian), a JSON header, then the tensors' bytes.
// The header comes from outside: whatever is not exactly what the format allows is refused.
// Specification: https://github.com/huggingface/safetensors, README, "Format".
#ifndef TIGHTFIT_SERVER_MODEL_SAFETENSORS_H_
#define TIGHTFIT_SERVER_MODEL_SAFETENSORS_H_

#include "server/base/status.h"
#include "server/model/file_reader.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace tightfit {

inline constexpr int64_t kMaxSafetensorsHeaderBytes = 16 << 20;
inline constexpr int64_t kMaxSafetensorsTensors = 65536;
inline constexpr int64_t kMaxSafetensorsRank = 5;
inline constexpr int64_t kMaxSafetensorsDimension = 2147483647;

enum class StoredDtype { kF16, kBF16, kF32, kU8 };
int64_t BytesOf(StoredDtype dtype);
std::string_view StoredDtypeName(StoredDtype dtype);  // "F16", "BF16", "F32", "U8"

struct StoredTensor {
  std::string name;
  StoredDtype dtype = StoredDtype::kF16;
  std::vector<int64_t> shape;
  int64_t element_count = 0;
  int64_t offset_bytes = 0;  // from the start of the file
  int64_t size_bytes = 0;    // element_count x dtype
};

// Which tensors a file may hold: U8 stands in packed checkpoints alone.
enum class AllowedDtypes { kNumbers, kNumbersAndBytes };

// Checks the JSON text `header` of a file whose tensors take `data_bytes` after it, and returns the
// tensors in order of offset, which then cover the data without hole or overlap. `data_start_bytes`
// is added to each offset. Errors: BAD_MODEL_DIRECTORY naming `file` and the tensor; FILE_TRUNCATED
// where the tensors need more than `data_bytes`.
Result<std::vector<StoredTensor>> ParseSafetensorsHeader(
    std::string_view file, std::string_view header, int64_t data_start_bytes, int64_t data_bytes,
    AllowedDtypes allowed = AllowedDtypes::kNumbers);

// An open file whose header was checked. Thread-safe.
class SafetensorsFile {
 public:
  // Errors: as FileReader::Open and ParseSafetensorsHeader. Allocates the header's size (at most
  // 16 MiB, and never more than the file has) and the tensors that it names.
  static Result<std::unique_ptr<SafetensorsFile>> Open(
      const std::string& path, std::string name, AllowedDtypes allowed = AllowedDtypes::kNumbers);

  const std::string& name() const { return reader_->name(); }
  int64_t size_bytes() const { return reader_->size_bytes(); }
  // The file's bytes before the first tensor, as they were when they were checked.
  std::string_view header_bytes() const { return header_bytes_; }
  // header_bytes() is empty afterwards: whoever has hashed them needs them no more.
  void ReleaseHeaderBytes() { std::string().swap(header_bytes_); }
  // In file order; they cover what follows the header exactly.
  const std::vector<StoredTensor>& tensors() const { return tensors_; }
  const FileReader& reader() const { return *reader_; }

 private:
  SafetensorsFile() = default;

  std::unique_ptr<FileReader> reader_;
  std::string header_bytes_;
  std::vector<StoredTensor> tensors_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_MODEL_SAFETENSORS_H_
