#include "server/unfinished_calls.h"

namespace tightfit {
namespace {

bool HasEnd(const std::string& method) { return method != "WatchModels"; }

}  // namespace

bool UnfinishedCalls::WaitForNone(std::chrono::steady_clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  return none_left_.wait_until(lock, deadline, [this] { return count_ == 0; });
}

void UnfinishedCalls::OnRequestStarted(const std::string& method, const std::string& model) {
  if (HasEnd(method)) {
    const std::lock_guard lock(mutex_);
    ++count_;
  }
  next_->OnRequestStarted(method, model);
}

void UnfinishedCalls::OnRequestFinished(const std::string& method, const std::string& model,
                                        StatusCode code, std::chrono::nanoseconds duration) {
  next_->OnRequestFinished(method, model, code, duration);
}

void UnfinishedCalls::OnRequestRecord(const RequestRecord& record) {
  next_->OnRequestRecord(record);
  if (!HasEnd(record.method)) return;
  const std::lock_guard lock(mutex_);
  if (--count_ == 0) none_left_.notify_all();
}

void UnfinishedCalls::OnImage(const std::string& model, const std::string& mime_type,
                              int64_t pixels) {
  next_->OnImage(model, mime_type, pixels);
}

void UnfinishedCalls::OnStage(const std::string& model, Stage stage,
                              std::chrono::nanoseconds duration) {
  next_->OnStage(model, stage, duration);
}

void UnfinishedCalls::OnConnections(const ConnectionCounts& counts) {
  next_->OnConnections(counts);
}

}  // namespace tightfit
