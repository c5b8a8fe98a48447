#include "server/engine/watched_model.h"

#include "server/base/device_loss.h"
#include "server/engine/guarded_call.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace tightfit {
namespace {

// What all calls on the device have in common. For the executor's thread alone.
class DeviceCalls {
 public:
  DeviceCalls(ProgressWatch* progress, std::function<void(const Status&)> on_lost)
      : progress_(progress), on_lost_(std::move(on_lost)) {}

  template <typename Call>
  auto Make(const std::string& model, Stage stage, const Call& call) -> decltype(call()) {
    if (lost_.has_value()) return *lost_;
    auto result = Watched(model, stage, call);
    if (const Status status = StatusOf(result); IsDeviceLost(status)) {
      lost_ = status;
      on_lost_(status);
    }
    return result;
  }

  void Beat() { progress_->Beat(); }

 private:
  template <typename Call>
  auto Watched(const std::string& model, Stage stage, const Call& call) -> decltype(call()) {
    // A call may be left by an exception.
    struct End {
      ~End() { progress->End(); }
      ProgressWatch* progress;
    };
    progress_->Begin(model, stage);
    const End end{progress_};
    return call();
  }

  ProgressWatch* const progress_;
  const std::function<void(const Status&)> on_lost_;
  std::optional<Status> lost_;
};

class WatchedModel final : public DiffusionModel {
 public:
  WatchedModel(std::string name, std::unique_ptr<DiffusionModel> model,
               std::shared_ptr<DeviceCalls> calls)
      : name_(std::move(name)), model_(std::move(model)), calls_(std::move(calls)) {}

  const ModelDescription& description() const override { return model_->description(); }

  Result<std::unique_ptr<Sampling>> Begin(const GenerationParameters& parameters) override {
    return calls_->Make(name_, Stage::kTextEncode, [&] { return model_->Begin(parameters); });
  }

  Status Step(std::span<Sampling* const> batch) override {
    return calls_->Make(name_, Stage::kDenoise, [&] { return model_->Step(batch); });
  }

  Result<std::optional<Image>> DecodeNext(Sampling& sampling) override {
    return calls_->Make(name_, Stage::kVaeDecode, [&] { return model_->DecodeNext(sampling); });
  }

 private:
  const std::string name_;
  const std::unique_ptr<DiffusionModel> model_;
  const std::shared_ptr<DeviceCalls> calls_;
};

}  // namespace

ModelLoader WatchedLoader(ModelLoader load, ProgressWatch* progress,
                          std::function<void(const Status&)> on_device_lost) {
  auto calls = std::make_shared<DeviceCalls>(progress, std::move(on_device_lost));
  return [load = std::move(load), calls = std::move(calls)](
             const ModelSpec& spec, const std::function<void(const LoadProgress&)>& told)
             -> Result<std::unique_ptr<DiffusionModel>> {
    Result<std::unique_ptr<DiffusionModel>> loaded = calls->Make(spec.name, Stage::kModelLoad, [&] {
      return load(spec, [&](const LoadProgress& done) {
        calls->Beat();
        if (told) told(done);
      });
    });
    if (!loaded.ok()) return loaded;
    return std::unique_ptr<DiffusionModel>(
        std::make_unique<WatchedModel>(spec.name, std::move(loaded).value(), calls));
  };
}

}  // namespace tightfit
