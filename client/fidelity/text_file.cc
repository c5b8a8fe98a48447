#include "client/fidelity/text_file.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

namespace tightfit::fidelity {

Result<std::string> ReadTextFile(const std::string& path) {
  constexpr uintmax_t kMaxBytes = 64 << 20;
  std::error_code error;
  const uintmax_t size_bytes = std::filesystem::file_size(path, error);
  if (error) {
    return Status(StatusCode::kNotFound, "CANNOT_READ", path + ": " + error.message());
  }
  if (size_bytes > kMaxBytes) {
    return Status(StatusCode::kInvalidArgument, "CANNOT_READ", path + ": larger than 64 MiB");
  }
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!file) return Status(StatusCode::kNotFound, "CANNOT_READ", path + ": cannot be read");
  return text;
}

}  // namespace tightfit::fidelity
