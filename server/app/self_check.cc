#include "server/app/self_check.h"

#include "server/rpc/grpc_server.h"

#include <algorithm>
#include <exception>
#include <utility>

namespace tightfit {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kLongestInterval{10'000};
// Calls while the port may be silent for the limit: one that is lost must not end the process.
constexpr int kCallsPerLimit = 6;
// Between two looks; what is longer was no time of this process.
constexpr std::chrono::seconds kLongestLook{1};

}  // namespace

SelfCheck::SelfCheck(AskOwnPort ask, milliseconds limit)
    : ask_(std::move(ask)),
      limit_(limit),
      looked_at_(steady_clock::now()),
      thread_([this] { Run(); }) {}

SelfCheck::~SelfCheck() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void SelfCheck::Run() {
  const milliseconds interval = std::min(limit_ / kCallsPerLimit, kLongestInterval);
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      if (wake_.wait_for(lock, interval, [this] { return stopping_; })) return;
    }
    Status status;
    try {
      status = ask_(std::max(limit_ / 3, milliseconds(1)));
    } catch (const std::exception&) {  // no memory; the next call may have it
      status = Internal("the own port could not be asked");
    }
    const std::lock_guard lock(mutex_);
    if (status.ok() || status.reason() == kNotAsked) {
      was_answered_ = true;
    } else {
      last_failure_ = status.ForLog();
    }
  }
}

bool SelfCheck::IsOverdue() {
  const steady_clock::time_point now = steady_clock::now();
  unanswered_ +=
      std::min<std::chrono::nanoseconds>(now - std::exchange(looked_at_, now), kLongestLook);
  const std::lock_guard lock(mutex_);
  if (std::exchange(was_answered_, false)) unanswered_ = {};
  return unanswered_ >= limit_;
}

std::string SelfCheck::last_failure() const {
  const std::lock_guard lock(mutex_);
  return last_failure_;
}

}  // namespace tightfit
