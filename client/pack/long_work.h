// Work over a model directory: its progress on stderr, and how it ends that does not end well.
#ifndef TIGHTFIT_CLIENT_PACK_LONG_WORK_H_
#define TIGHTFIT_CLIENT_PACK_LONG_WORK_H_

#include "client/cli/interrupt_watcher.h"
#include "client/pack/command_line.h"
#include "client/weights/work_progress.h"
#include "server/base/status.h"
#include "server/weights/directory_rewrite.h"

#include <chrono>
#include <string>

namespace tightfit::pack {

class LongWork {
 public:
  LongWork(const SharedOptions& options, const cli::InterruptWatcher& interrupts)
      : options_(options),
        interrupts_(interrupts),
        progress_(weights::WorkProgress::OnStderr(options.quiet)) {}

  // Shows progress; ends the work after Ctrl-C. Must not outlive this.
  DirectoryProgress progress();
  // Takes the bar away. Returns the exit code, all printed.
  int Fail(const Status& status);
  void Finish() { progress_.Finish(); }

  std::chrono::nanoseconds elapsed() const { return std::chrono::steady_clock::now() - start_; }
  double seconds() const { return std::chrono::duration<double>(elapsed()).count(); }

 private:
  const SharedOptions& options_;
  const cli::InterruptWatcher& interrupts_;
  weights::WorkProgress progress_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace tightfit::pack

#endif  // TIGHTFIT_CLIENT_PACK_LONG_WORK_H_
