// DirectoryLooks: reads the directories of failed models again, beside the executor's thread: a
// file system that hangs must hold up no request of other models.
#ifndef TIGHTFIT_SERVER_ENGINE_DIRECTORY_LOOKS_H_
#define TIGHTFIT_SERVER_ENGINE_DIRECTORY_LOOKS_H_

#include "server/base/clock.h"
#include "server/base/status.h"
#include "server/engine/diffusion_model.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace tightfit {

// Runs a task, on this thread or another.
using TaskRunner = std::function<void(std::function<void()> task)>;

// For the executor's thread. What still runs when it goes is forgotten.
class DirectoryLooks {
 public:
  struct Found {
    std::string model;
    Result<ModelDescription> description;
    Clock::time_point began;
  };

  // An empty `run` runs looks at once. `on_found` is called on the thread of the look, after its
  // result can be taken. `clock` must outlive the looks that run.
  DirectoryLooks(ModelDescriber describe, const Clock* clock, TaskRunner run,
                 std::function<void()> on_found);
  ~DirectoryLooks();
  DirectoryLooks(const DirectoryLooks&) = delete;
  DirectoryLooks& operator=(const DirectoryLooks&) = delete;

  // Begins to look, unless one look at this model is under way.
  void Start(const ModelSpec& spec);

  // What was found since the last call.
  std::vector<Found> Take();

 private:
  struct Shared;

  const ModelDescriber describe_;
  const Clock* const clock_;
  const TaskRunner run_;
  const std::shared_ptr<Shared> shared_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_DIRECTORY_LOOKS_H_
