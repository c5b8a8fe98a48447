#include "client/cli/input_file.h"

#include <CLI/CLI.hpp>

#include <fstream>

namespace tightfit::cli {

std::string ReadInputFile(const char* flag, const std::string& path, size_t max_bytes) {
  std::ifstream file(path, std::ios::binary);
  std::string bytes(max_bytes + 1, '\0');
  file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<size_t>(file.gcount()));
  if (file.bad() || bytes.empty() || bytes.size() > max_bytes) {
    throw CLI::ValidationError(flag, path + " cannot be read, or is empty or too large");
  }
  return bytes;
}

}  // namespace tightfit::cli
