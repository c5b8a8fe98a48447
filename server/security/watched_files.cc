#include "server/security/watched_files.h"

#include <utility>

namespace tightfit {

WatchedFiles::WatchedFiles(std::vector<std::string> paths, std::function<Status()> read)
    : paths_(std::move(paths)), read_(std::move(read)), read_states_(ReadStates()) {}

std::optional<Status> WatchedFiles::Look() {
  // Before the files are read: what changes meanwhile is seen at the next look.
  States states = ReadStates();
  const bool is_same = states == read_states_;
  if (is_same && std::exchange(has_looked_, true)) {
    failed_states_.reset();
    return std::nullopt;
  }
  has_looked_ = true;
  Status status = read_();
  if (status.ok()) {
    failed_states_.reset();
    read_states_ = std::move(states);
    return is_same ? std::nullopt : std::optional(std::move(status));
  }
  // Nothing has changed since they were read at the start, with a warning perhaps.
  if (is_same) return std::nullopt;
  // They are tried again at every look: a certificate that is not valid yet will be.
  if (failed_states_ != states) {
    failed_states_ = std::move(states);
    is_failure_told_ = false;
    return std::nullopt;
  }
  if (std::exchange(is_failure_told_, true)) return std::nullopt;
  return status;
}

Status WatchedFiles::ReadNow() {
  States states = ReadStates();
  has_looked_ = true;
  Status status = read_();
  if (status.ok()) {
    failed_states_.reset();
    read_states_ = std::move(states);
  } else {
    failed_states_ = std::move(states);
    is_failure_told_ = true;
  }
  return status;
}

WatchedFiles::States WatchedFiles::ReadStates() const {
  States states;
  states.reserve(paths_.size());
  for (const std::string& path : paths_) states.push_back(ReadFileState(path));
  return states;
}

}  // namespace tightfit
