#include "tests/integration/one_image.h"

#include "server/base/clock.h"
#include "server/pipeline/model_loader.h"

#include <future>
#include <utility>

namespace tightfit {
namespace {

class OneImage final : public GenerationObserver {
 public:
  void OnQueued(int32_t) override {}
  void OnStarted(const GenerationParameters&) override {}
  void OnProgress(const GenerationProgress&) override {}
  void OnImage(Image image) override { image_ = std::move(image); }
  void OnFinished(const Status& status, const GenerationTimings&) override {
    end_.set_value(status);
  }
  Result<std::vector<uint8_t>> Wait() {
    TF_RETURN_IF_ERROR(end_.get_future().get());
    return std::move(image_.rgb);
  }

 private:
  Image image_;
  std::promise<Status> end_;
};

template <typename Call>
Status Wait(const Call& call) {
  auto end = std::make_shared<std::promise<Status>>();
  call([end](const Status& status) { end->set_value(status); });
  return end->get_future().get();
}

}  // namespace

OneModelServer::OneModelServer(const std::string& model_directory, int64_t host_cache_bytes,
                               DeviceLedger* ledger)
    : runtime_("cpu", /*thread_count=*/2, host_cache_bytes),
      registry_({{.name = "m", .path = model_directory, .format = "hf8"}}) {
  executor_ = std::make_unique<DeviceExecutor>(
      &registry_,
      [this](const ModelSpec& spec, const auto& progress) {
        return LoadDiffusionModel(runtime_, spec, progress);
      },
      ExecutorOptions{
          .thread_init = [this] { runtime_.InitThread(); },
          .describe = [](const ModelSpec& spec) { return DescribeDiffusionModel(spec, "cpu"); },
          .ledger = ledger,
          .drop_caches =
              [this] {
                runtime_.DropCaches();
                return OkStatus();
              }},
      &Clock::Real(), nullptr);
  std::promise<void> ready;
  executor_->Start([&ready] { ready.set_value(); });
  ready.get_future().wait();
}

Status OneModelServer::Load() {
  return Wait([this](auto done) { executor_->Load("m", std::move(done)); });
}

Status OneModelServer::Unload() {
  return Wait([this](auto done) { executor_->Unload("m", false, std::move(done)); });
}

Result<std::vector<uint8_t>> OneModelServer::Draw(const std::string& sampler) {
  GenerationParameters parameters;
  parameters.model = "m";
  parameters.prompt = "a red apple";
  parameters.width_px = parameters.height_px =
      8 * registry_.Find("m")->description->pixels_per_latent;
  parameters.step_count = 2;
  parameters.guidance_scale = 5.0f;
  parameters.sampler = sampler;
  parameters.seed = 1;
  auto picture = std::make_shared<OneImage>();
  TF_RETURN_IF_ERROR(
      executor_->Submit(std::move(parameters), picture, std::make_shared<Cancellation>()));
  return picture->Wait();
}

}  // namespace tightfit
