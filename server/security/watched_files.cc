#include "server/security/watched_files.h"

#include <utility>

namespace tightfit {

WatchedFiles::WatchedFiles(std::vector<std::string> paths, std::function<Status()> read)
    : paths_(std::move(paths)), read_(std::move(read)) {}

std::optional<Status> WatchedFiles::Look() {
  // Before the files are read: what changes meanwhile is seen at the next look.
  States states = ReadStates();
  if (states == read_states_) {
    failed_states_.reset();
    return std::nullopt;
  }
  Status status = read_();
  if (!status.ok() && failed_states_ != states) {
    failed_states_ = std::move(states);
    return std::nullopt;
  }
  failed_states_.reset();
  const bool is_first = !std::exchange(read_states_, std::move(states)).has_value();
  if (is_first && status.ok()) return std::nullopt;
  return status;
}

Status WatchedFiles::ReadNow() {
  States states = ReadStates();
  failed_states_.reset();
  read_states_ = std::move(states);
  return read_();
}

WatchedFiles::States WatchedFiles::ReadStates() const {
  States states;
  states.reserve(paths_.size());
  for (const std::string& path : paths_) states.push_back(ReadFileState(path));
  return states;
}

}  // namespace tightfit
