// WatchedLoader: puts a watch around every call of the models that a loader makes.
#ifndef TIGHTFIT_SERVER_ENGINE_WATCHED_MODEL_H_
#define TIGHTFIT_SERVER_ENGINE_WATCHED_MODEL_H_

#include "server/base/status.h"
#include "server/engine/diffusion_model.h"
#include "server/engine/progress_watch.h"

#include <functional>

namespace tightfit {

// Loads with `load`. Tells `progress` of each load and of each call of a model made so. Once one of
// them ends with DeviceLost, `on_device_lost` is called, one time, on the thread of that call and
// before it returns; from then on every load and every call returns that status and reaches no
// model. `progress` must outlive the loader and its models.
ModelLoader WatchedLoader(ModelLoader load, ProgressWatch* progress,
                          std::function<void(const Status&)> on_device_lost);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_WATCHED_MODEL_H_
