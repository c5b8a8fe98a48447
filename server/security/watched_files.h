// WatchedFiles: files that belong together, read again when one of them changes.
#ifndef TIGHTFIT_SERVER_SECURITY_WATCHED_FILES_H_
#define TIGHTFIT_SERVER_SECURITY_WATCHED_FILES_H_

#include "server/base/status.h"
#include "server/security/file_state.h"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace tightfit {

// Not thread-safe.
class WatchedFiles {
 public:
  // `read` reads the files and takes what they say, or changes nothing and returns why. They were
  // read before this is made: the first look reads them once more, and tells of it only where they
  // have changed since, or cannot be read.
  WatchedFiles(std::vector<std::string> paths, std::function<Status()> read);

  // To be called every few seconds. Reads the files if they have changed since they were last read.
  // What came of it; nullopt where nothing changed, and where it may be half done: a certificate
  // and its key are two files, so a failure counts only when the next look finds the same.
  std::optional<Status> Look();
  // Reads them whatever they are.
  Status ReadNow();

 private:
  using States = std::vector<FileState>;
  States ReadStates() const;

  const std::vector<std::string> paths_;
  const std::function<Status()> read_;
  States read_states_;  // as of the last reading that counted
  bool is_failure_told_ = false;
  bool has_looked_ = false;
  std::optional<States> failed_states_;  // of a failure that does not count yet
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_SECURITY_WATCHED_FILES_H_
