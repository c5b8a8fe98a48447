// CallRecord: tells the RpcObserver of one call's start and, exactly once, of its end.
#ifndef TIGHTFIT_SERVER_RPC_CALL_RECORD_H_
#define TIGHTFIT_SERVER_RPC_CALL_RECORD_H_

#include "server/base/clock.h"
#include "server/base/status.h"
#include "server/engine/generation.h"
#include "server/engine/rpc_observer.h"

#include <chrono>
#include <string>

namespace tightfit {

// Not thread-safe. `observer` and `clock` must outlive it.
class CallRecord {
 public:
  CallRecord(RpcObserver* observer, const Clock* clock, std::string method, std::string model)
      : observer_(observer), clock_(clock), started_at_(clock->Now()) {
    record_.method = std::move(method);
    record_.model = std::move(model);
    observer_->OnRequestStarted(record_.method, record_.model);
  }
  CallRecord(const CallRecord&) = delete;
  CallRecord& operator=(const CallRecord&) = delete;

  // Notes who calls, or returns why nobody may.
  Status Admit(const Result<std::string>& caller) {
    if (caller.ok()) record_.caller = *caller;
    return caller.status();
  }

  // What the log may tell of an accepted request.
  void Describe(const GenerationParameters& parameters) {
    record_.request_id = parameters.request_id;
    record_.width_px = parameters.width_px;
    record_.height_px = parameters.height_px;
    record_.step_count = parameters.step_count;
    record_.image_count = parameters.image_count;
  }

  // Later calls are ignored.
  void Finish(const Status& status) {
    if (finished_) return;
    finished_ = true;
    record_.status = status;
    record_.duration = clock_->Now() - started_at_;
    observer_->OnRequestFinished(record_.method, record_.model, status.code(), record_.duration);
    observer_->OnRequestRecord(record_);
  }

  const std::string& model() const { return record_.model; }

 private:
  RpcObserver* const observer_;
  const Clock* const clock_;
  const Clock::time_point started_at_;
  RequestRecord record_;
  bool finished_ = false;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_CALL_RECORD_H_
