#include "server/engine/watched_device.h"

#include "server/base/device_loss.h"
#include "server/engine/guarded_call.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace tightfit {

using std::chrono::nanoseconds;

// What all calls on the device have in common.
class WatchedDevice::Calls {
 public:
  Calls(ProgressWatch* progress, Probe probe, std::function<void(const Status&)> on_lost)
      : progress_(progress), probe_(std::move(probe)), on_lost_(std::move(on_lost)) {}

  template <typename Call>
  auto Make(const std::string& model, DeviceCall what, nanoseconds expected, const Call& call)
      -> decltype(call()) {
    if (lost_.has_value()) return *lost_;
    progress_->Begin(model, what, expected);
    auto result = Guarded(
        what == DeviceCall::kModelLoad ? "the model could not be loaded" : "the model failed",
        call);
    const Status loss = LossAfter(what, StatusOf(result));
    progress_->End();
    if (loss.ok()) return result;
    lost_ = loss;
    on_lost_(loss);
    return loss;
  }

  void Beat() { progress_->Beat(); }

 private:
  // DeviceLost if a call that ended with `status` has lost the device. Errors that mean so are
  // known by their codes, but not all of them, and what frees memory swallows them.
  Status LossAfter(DeviceCall what, const Status& status) const {
    if (IsDeviceLost(status)) return status;
    const bool tells_nothing = what == DeviceCall::kModelEvict || what == DeviceCall::kCacheDrop;
    if (!probe_ || !(tells_nothing || status.code() == StatusCode::kInternal)) return OkStatus();
    const Status alive = Guarded("the device gives no sign of life", probe_);
    return IsDeviceLost(alive) ? alive : OkStatus();
  }

  ProgressWatch* const progress_;
  const Probe probe_;
  const std::function<void(const Status&)> on_lost_;
  std::optional<Status> lost_;
};

namespace {

// Of a call on `latents`, by what one took when the model was loaded.
nanoseconds Expected(double seconds_per_latent, int64_t latents) {
  return std::chrono::duration_cast<nanoseconds>(
      std::chrono::duration<double>(seconds_per_latent * static_cast<double>(latents)));
}

template <typename Calls>
class WatchedModel final : public DiffusionModel {
 public:
  WatchedModel(std::string name, std::unique_ptr<DiffusionModel> model,
               std::shared_ptr<Calls> calls)
      : name_(std::move(name)), model_(std::move(model)), calls_(std::move(calls)) {}

  // Whoever takes it off the device, and for whatever reason.
  ~WatchedModel() override {
    static_cast<void>(calls_->Make(name_, DeviceCall::kModelEvict, {}, [this] {
      model_.reset();
      return OkStatus();
    }));
    // Null unless the device was lost before: then the model ends with the process.
    static_cast<void>(model_.release());
  }

  const ModelDescription& description() const override { return model_->description(); }

  Result<std::unique_ptr<Sampling>> Begin(const GenerationParameters& parameters) override {
    const RequestCosts* const costs = Costs();
    nanoseconds expected{};
    if (parameters.init_image != nullptr && costs != nullptr) {
      const int32_t multiple = std::max(description().pixels_per_latent, 1);
      expected =
          Expected(costs->encode_image_latent_seconds,
                   int64_t{parameters.height_px / multiple} * (parameters.width_px / multiple));
    }
    return calls_->Make(name_, DeviceCall::kTextEncode, expected,
                        [&] { return model_->Begin(parameters); });
  }

  Status Step(std::span<Sampling* const> batch) override {
    int64_t latents = 0;
    for (const Sampling* const member : batch) latents += member->denoised_latents();
    const RequestCosts* const costs = Costs();
    return calls_->Make(name_, DeviceCall::kDenoise,
                        Expected(costs ? costs->denoise_latent_seconds : 0.0, latents),
                        [&] { return model_->Step(batch); });
  }

  Result<std::optional<Image>> DecodeNext(Sampling& sampling) override {
    const RequestCosts* const costs = Costs();
    return calls_->Make(
        name_, DeviceCall::kVaeDecode,
        Expected(costs ? costs->decode_latent_seconds : 0.0, sampling.decoded_latents()),
        [&] { return model_->DecodeNext(sampling); });
  }

 private:
  const RequestCosts* Costs() const {
    const std::optional<RequestCosts>& costs = model_->description().memory.costs;
    return costs.has_value() ? &*costs : nullptr;
  }

  const std::string name_;
  std::unique_ptr<DiffusionModel> model_;
  const std::shared_ptr<Calls> calls_;
};

}  // namespace

WatchedDevice::WatchedDevice(ProgressWatch* progress, Probe probe,
                             std::function<void(const Status&)> on_lost)
    : calls_(std::make_shared<Calls>(progress, std::move(probe), std::move(on_lost))) {}

ModelLoader WatchedDevice::Loader(ModelLoader load) const {
  return [load = std::move(load), calls = calls_](
             const ModelSpec& spec,
             const LoadCallback& told) -> Result<std::unique_ptr<DiffusionModel>> {
    Result<std::unique_ptr<DiffusionModel>> loaded =
        calls->Make(spec.name, DeviceCall::kModelLoad, {}, [&] {
          return load(spec, [&](const LoadProgress& done) {
            calls->Beat();
            return !told || told(done);
          });
        });
    if (!loaded.ok()) return loaded;
    return std::unique_ptr<DiffusionModel>(
        std::make_unique<WatchedModel<Calls>>(spec.name, std::move(loaded).value(), calls));
  };
}

std::function<Status()> WatchedDevice::CacheDrop(std::function<void()> drop) const {
  if (!drop) return {};
  return [drop = std::move(drop), calls = calls_] {
    return calls->Make("", DeviceCall::kCacheDrop, {}, [&] {
      drop();
      return OkStatus();
    });
  };
}

}  // namespace tightfit
