#include "client/pack/long_work.h"

#include "client/cli/exit_code.h"
#include "client/cli/standard_streams.h"
#include "client/weights/outcome.h"

#include <algorithm>

namespace tightfit::pack {

DirectoryProgress LongWork::progress() {
  return [this](const std::string& what, int64_t done_bytes, int64_t all_bytes) {
    constexpr int64_t kBytesOfAStep = 1 << 20;
    const double share =
        static_cast<double>(done_bytes) / static_cast<double>(std::max<int64_t>(all_bytes, 1));
    progress_.Show(what + ", MiB", done_bytes / kBytesOfAStep, all_bytes / kBytesOfAStep, share);
    return interrupts_.signal() == 0;
  };
}

int LongWork::Fail(const Status& status) {
  progress_.Finish();
  if (status.code() == StatusCode::kCancelled) {
    cli::WriteError("interrupted: " + status.message() + "\n");
    return cli::kExitSignalBase + interrupts_.signal();
  }
  // Whoever calls this is the operator too: paths belong into the line.
  return weights::Fail({status.code(), status.reason(), status.ForLog()}, options_.json);
}

}  // namespace tightfit::pack
