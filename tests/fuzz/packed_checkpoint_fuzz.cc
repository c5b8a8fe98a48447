// Fuzz target: weight files of packed checkpoints. Whatever the bytes are, the file is refused with
// a reason, or its index accounts for every weight, and reading and decoding them stays within it.
#include "kernels/codec.h"
#include "server/model/sha256.h"
#include "server/weights/packed_checkpoint.h"
#include "tests/fuzz/require.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

namespace tightfit {
namespace {

constexpr int64_t kMaxDecodedWeights = 1 << 16;

// A regular file that has a path and no name.
class MemoryFile {
 public:
  explicit MemoryFile(const std::string& bytes) : descriptor_(memfd_create("fuzz", MFD_CLOEXEC)) {
    Require(descriptor_ >= 0);
    Require(write(descriptor_, bytes.data(), bytes.size()) == std::ssize(bytes));
  }
  ~MemoryFile() { close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  const int descriptor_;
};

std::string_view Bytes(const std::string& file, const StoredTensor& tensor) {
  return std::string_view(file).substr(static_cast<size_t>(tensor.offset_bytes),
                                       static_cast<size_t>(tensor.size_bytes));
}

// Up to the end of the second tensor, as the specification says.
std::string IndexDigest(const std::string& file, const std::vector<StoredTensor>& tensors) {
  const StoredTensor& last = tensors[1];
  return Sha256::HexDigestOf(
      file.substr(0, static_cast<size_t>(last.offset_bytes + last.size_bytes)));
}

void SetChecksum(char* header) {
  uint32_t crc = ~0u;
  for (size_t i = 0; i < 124; ++i) {
    crc ^= static_cast<unsigned char>(header[i]);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) * 0xEDB88320u);
  }
  crc = ~crc;
  std::memcpy(header + 124, &crc, 4);
}

// Digests and checksums become right as far as there is room for them, so that none of them keeps
// the fuzzer from what lies behind.
std::string Repaired(std::string file, const std::vector<StoredTensor>& tensors) {
  size_t header = static_cast<size_t>(tensors[0].offset_bytes);
  size_t digest = static_cast<size_t>(tensors[1].offset_bytes);
  const size_t headers_end = header + static_cast<size_t>(tensors[0].size_bytes);
  const size_t digests_end = digest + static_cast<size_t>(tensors[1].size_bytes);
  for (size_t i = 2; i < tensors.size(); ++i) {
    Sha256 sha256;
    sha256.Update(Bytes(file, tensors[i]).data(), Bytes(file, tensors[i]).size());
    const auto found = sha256.Digest();
    if (digest + 32 <= digests_end)
      std::copy(found.begin(), found.end(), file.begin() + static_cast<std::ptrdiff_t>(digest));
    digest += 32;
    if (tensors[i].dtype != StoredDtype::kU8) continue;
    if (header + 128 <= headers_end) {
      std::copy(found.begin(), found.end(),
                file.begin() + static_cast<std::ptrdiff_t>(header + 64));
      SetChecksum(file.data() + header);
    }
    header += 128;
  }
  return file;
}

void ReadAll(const PackedCheckpoint& checkpoint, const std::string& file, bool is_repaired) {
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    // A heap block of exactly its size, on the border that codes need.
    std::vector<uint8_t> bytes(static_cast<size_t>(tensor.stored.size_bytes));
    const Status read = checkpoint.Read(tensor, bytes.data());
    Require(read.ok() || !is_repaired);
    Require(std::ranges::equal(bytes, Bytes(file, tensor.stored),
                               [](uint8_t a, char b) { return a == static_cast<uint8_t>(b); }));
    if (!tensor.is_packed()) {
      Require(tensor.stored.dtype != StoredDtype::kU8);
      continue;
    }
    const PackedLayout layout = tensor.header().layout;
    Require(layout.total_bytes == tensor.stored.size_bytes);
    int64_t weights = 1;
    for (const int64_t dimension : tensor.shape()) weights *= dimension;
    Require(weights == layout.rows * layout.columns);
    if (weights > kMaxDecodedWeights) continue;
    std::vector<uint16_t> values(static_cast<size_t>(weights));
    DecodeToFp16(layout, bytes.data(), {0, layout.rows, 0, layout.columns}, values.data());
  }
}

void Open(const std::string& file, const std::string& digest, bool is_repaired) {
  const MemoryFile stored(file);
  const auto checkpoint = PackedCheckpoint::Open(stored.path(), "w", digest);
  if (!checkpoint.ok()) {
    Require(!checkpoint.status().message().empty() && checkpoint.status().message().size() < 400);
    return;
  }
  Require(digest.size() == 64);
  ReadAll(**checkpoint, file, is_repaired);
}

void OpenAsItIsAndRepaired(const std::string& file) {
  Open(file, "", false);
  std::vector<StoredTensor> tensors;
  {
    const MemoryFile stored(file);
    const auto opened = SafetensorsFile::Open(stored.path(), "w", AllowedDtypes::kNumbersAndBytes);
    if (!opened.ok()) return;
    tensors = (*opened)->tensors();
  }
  if (tensors.size() < 2) return;
  Open(file, IndexDigest(file, tensors), false);
  const std::string repaired = Repaired(file, tensors);
  Open(repaired, IndexDigest(repaired, tensors), true);
}

}  // namespace
}  // namespace tightfit

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tightfit::OpenAsItIsAndRepaired(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
