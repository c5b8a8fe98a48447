// CommandQueue: calls that wait for the executor's thread, to run between two calls of a model.
#ifndef TIGHTFIT_SERVER_ENGINE_COMMAND_QUEUE_H_
#define TIGHTFIT_SERVER_ENGINE_COMMAND_QUEUE_H_

#include "server/base/status.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace tightfit {

// What to do, and who hears of its end.
struct PendingCommand {
  std::function<Status()> run;
  std::function<void(const Status&)> done;
  std::string loads_model;  // the model that it brings to the device; "" if it brings none
};

// Thread-safe.
class CommandQueue {
 public:
  static constexpr size_t kMaxWaiting = 64;

  // False, and `command` stays with the caller, where too many wait.
  bool Push(PendingCommand& command) {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() >= kMaxWaiting) return false;
    waiting_.push_back(std::move(command));
    return true;
  }

  std::optional<PendingCommand> Pop() {
    const std::lock_guard lock(mutex_);
    if (waiting_.empty()) return std::nullopt;
    PendingCommand command = std::move(waiting_.front());
    waiting_.pop_front();
    return command;
  }

  // Whether one that waits brings `model` to the device.
  bool Loads(std::string_view model) const {
    const std::lock_guard lock(mutex_);
    return std::ranges::any_of(
        waiting_, [&](const PendingCommand& command) { return command.loads_model == model; });
  }

  bool empty() const {
    const std::lock_guard lock(mutex_);
    return waiting_.empty();
  }

 private:
  mutable std::mutex mutex_;
  std::deque<PendingCommand> waiting_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_COMMAND_QUEUE_H_
