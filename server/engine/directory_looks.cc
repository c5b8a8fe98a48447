#include "server/engine/directory_looks.h"

#include "server/engine/guarded_call.h"

#include <mutex>
#include <set>
#include <utility>

namespace tightfit {

struct DirectoryLooks::Shared {
  std::mutex mutex;
  std::set<std::string> under_way;
  std::vector<Found> found;
  std::function<void()> on_found;  // empty once nobody takes what is found
};

DirectoryLooks::DirectoryLooks(ModelDescriber describe, const Clock* clock, TaskRunner run,
                               std::function<void()> on_found)
    : describe_(std::move(describe)),
      clock_(clock),
      run_(std::move(run)),
      shared_(std::make_shared<Shared>()) {
  shared_->on_found = std::move(on_found);
}

DirectoryLooks::~DirectoryLooks() {
  const std::lock_guard lock(shared_->mutex);
  shared_->on_found = nullptr;
}

void DirectoryLooks::Start(const ModelSpec& spec) {
  {
    const std::lock_guard lock(shared_->mutex);
    if (!shared_->under_way.insert(spec.name).second) return;
  }
  auto look = [shared = shared_, describe = describe_, clock = clock_, spec] {
    const Clock::time_point began = clock->Now();
    Result<ModelDescription> described =
        Guarded("the model could not be loaded", [&] { return describe(spec); });
    const std::lock_guard lock(shared->mutex);
    shared->under_way.erase(spec.name);
    shared->found.push_back({spec.name, std::move(described), began});
    if (shared->on_found) shared->on_found();
  };
  if (run_) {
    run_(std::move(look));
  } else {
    look();
  }
}

std::vector<DirectoryLooks::Found> DirectoryLooks::Take() {
  const std::lock_guard lock(shared_->mutex);
  return std::exchange(shared_->found, {});
}

}  // namespace tightfit
