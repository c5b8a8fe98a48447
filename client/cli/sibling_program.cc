#include "client/cli/sibling_program.h"

#include "client/cli/exit_code.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>

namespace tightfit::cli {

int RunSiblingProgram(const char* name, char** argv) {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) {
    execv((self.parent_path() / name).c_str(), argv);
    error.assign(errno, std::generic_category());
  }
  std::fprintf(stderr, "error: %s must lie beside tightfit: %s\n", name, error.message().c_str());
  return kExitFailed;
}

}  // namespace tightfit::cli
