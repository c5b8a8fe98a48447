#include "client/cli/input_file.h"

#include <CLI/CLI.hpp>

#include <fstream>

namespace tightfit::cli {

std::string ReadInputFile(const char* flag, const std::string& path, size_t max_bytes) {
  std::ifstream file(path, std::ios::binary);
  std::string bytes;
  char block[1 << 16];
  while (bytes.size() <= max_bytes && file.read(block, sizeof(block)).gcount() > 0) {
    bytes.append(block, static_cast<size_t>(file.gcount()));
  }
  if (file.bad() || bytes.empty() || bytes.size() > max_bytes) {
    throw CLI::ValidationError(flag, path + " cannot be read, or is empty or too large");
  }
  return bytes;
}

}  // namespace tightfit::cli
