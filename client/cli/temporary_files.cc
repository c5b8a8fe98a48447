#include "client/cli/temporary_files.h"

#include <unistd.h>

#include <mutex>
#include <set>

namespace tightfit::cli {
namespace {

struct Tracked {
  std::mutex mutex;
  std::set<std::string> paths;
};

Tracked& Files() {
  static auto* const files = new Tracked;
  return *files;
}

}  // namespace

void TrackTemporary(const std::string& path) {
  const std::lock_guard lock(Files().mutex);
  Files().paths.insert(path);
}

void ForgetTemporary(const std::string& path) {
  const std::lock_guard lock(Files().mutex);
  Files().paths.erase(path);
}

void RemoveTemporaryFiles() {
  const std::lock_guard lock(Files().mutex);
  for (const std::string& path : Files().paths) unlink(path.c_str());
  Files().paths.clear();
}

}  // namespace tightfit::cli
