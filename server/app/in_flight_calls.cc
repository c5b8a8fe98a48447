#include "server/app/in_flight_calls.h"

namespace tightfit {
namespace {

bool HasEnd(const std::string& method) { return method != "WatchModels"; }

}  // namespace

bool InFlightCalls::WaitForNone(std::chrono::steady_clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  return none_left_.wait_until(lock, deadline, [this] { return count_ == 0; });
}

void InFlightCalls::OnRequestStarted(const std::string& method, const std::string& /*model*/) {
  if (!HasEnd(method)) return;
  const std::lock_guard lock(mutex_);
  ++count_;
}

void InFlightCalls::OnRequestRecord(const RequestRecord& record) {
  if (!HasEnd(record.method)) return;
  const std::lock_guard lock(mutex_);
  if (--count_ == 0) none_left_.notify_all();
}

}  // namespace tightfit
