// WatchedDevice: puts a watch around everything that the executor's thread asks of one device.
#ifndef TIGHTFIT_SERVER_ENGINE_WATCHED_DEVICE_H_
#define TIGHTFIT_SERVER_ENGINE_WATCHED_DEVICE_H_

#include "server/base/status.h"
#include "server/engine/diffusion_model.h"
#include "server/engine/progress_watch.h"

#include <functional>
#include <memory>

namespace tightfit {

// What it makes may outlive it, and is for the executor's thread.
class WatchedDevice {
 public:
  // OK, or DeviceLost. Asks the device for a sign of life, in well under a millisecond.
  using Probe = std::function<Status()>;

  // `progress` is told when a call begins, beats (a load) and ends; it must outlive what is made.
  // A call that ends with DeviceLost has lost the device. So has one that failed with INTERNAL, or
  // that gives no status, if `probe` then says so; an empty probe never does. `on_lost` is called
  // once, on the thread of the call and before it returns; from then on every call returns the loss
  // and reaches no device.
  WatchedDevice(ProgressWatch* progress, Probe probe, std::function<void(const Status&)> on_lost);

  // Loads with `load`, and watches the load, the calls of the model, and how it goes: freeing it
  // or moving its weights to host memory is work of the device.
  ModelLoader Loader(ModelLoader load) const;

  // Gives caches back with `drop`. Errors: DeviceLost. Empty if `drop` is.
  std::function<Status()> CacheDrop(std::function<void()> drop) const;

 private:
  class Calls;
  std::shared_ptr<Calls> calls_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_WATCHED_DEVICE_H_
