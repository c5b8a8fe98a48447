// ExecutorFixture: an executor over fake models and a clock that tests move, and observers that
// write down what they hear.
#ifndef TIGHTFIT_TESTS_UNIT_ENGINE_EXECUTOR_FIXTURE_H_
#define TIGHTFIT_TESTS_UNIT_ENGINE_EXECUTOR_FIXTURE_H_

#include "server/engine/device_executor.h"
#include "tests/support/fake_clock.h"
#include "tests/support/fake_diffusion_model.h"
#include "tests/support/gate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace tightfit {

// Thread-safe record of one request's events: "queued 1", "started", "text_encode 0/4", "denoise
// 1/4", "image 0", "finished OK".
class RecordingObserver final : public GenerationObserver {
 public:
  void OnQueued(int32_t position) override { Add("queued " + std::to_string(position)); }
  void OnStarted(const GenerationParameters&) override { Add("started"); }
  void OnProgress(const GenerationProgress& progress) override {
    {
      const std::lock_guard lock(mutex_);
      progress_.push_back(progress);
    }
    Add(std::string(StageName(progress.stage)) + " " + std::to_string(progress.step) + "/" +
        std::to_string(progress.step_count));
  }
  void OnPromptTokens(const std::vector<PromptTokens>& prompts) override {
    const std::lock_guard lock(mutex_);
    prompt_tokens_ = prompts;
  }
  void OnImage(Image image) override {
    {
      const std::lock_guard lock(mutex_);
      images_.push_back(image);
    }
    Add("image " + std::to_string(image.index));
  }
  void OnFinished(const Status& status, const GenerationTimings& timings) override {
    {
      const std::lock_guard lock(mutex_);
      status_ = status;
      timings_ = timings;
      ++finished_count_;
      if (at_finish) at_finish();
    }
    Add("finished " + (status.ok() ? "OK" : status.reason()));
  }

  // Waits until an event equal to `event` was recorded.
  bool WaitFor(const std::string& event) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(60), [&] {
      return std::find(events_.begin(), events_.end(), event) != events_.end();
    });
  }
  // Waits for the end; the status that it came with.
  Status WaitForEnd() {
    std::unique_lock lock(mutex_);
    const bool ended = changed_.wait_for(lock, std::chrono::seconds(60), [&] {
      return !events_.empty() && events_.back().starts_with("finished");
    });
    EXPECT_TRUE(ended) << "the request did not end";
    return status_;
  }
  std::vector<std::string> events() const {
    const std::lock_guard lock(mutex_);
    return events_;
  }
  std::vector<PromptTokens> prompt_tokens() const {
    const std::lock_guard lock(mutex_);
    return prompt_tokens_;
  }
  std::vector<GenerationProgress> progress() const {
    const std::lock_guard lock(mutex_);
    return progress_;
  }
  std::vector<Image> images() const {
    const std::lock_guard lock(mutex_);
    return images_;
  }
  GenerationTimings timings() const {
    const std::lock_guard lock(mutex_);
    return timings_;
  }
  int finished_count() const {
    const std::lock_guard lock(mutex_);
    return finished_count_;
  }

  // Runs inside OnFinished.
  std::function<void()> at_finish;
  // Hears every event, on the thread that it happens on.
  std::function<void(const std::string&)> on_event;

 private:
  void Add(std::string event) {
    if (on_event) on_event(event);
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
    changed_.notify_all();
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> events_;
  std::vector<GenerationProgress> progress_;
  std::vector<PromptTokens> prompt_tokens_;
  std::vector<Image> images_;
  Status status_;
  GenerationTimings timings_;
  int finished_count_ = 0;
};

class ExecutorFixture : public ::testing::Test {
 protected:
  struct Request {
    std::shared_ptr<RecordingObserver> observer = std::make_shared<RecordingObserver>();
    std::shared_ptr<Cancellation> cancellation;
    Status submitted;
  };

  ~ExecutorFixture() override {
    gate_.Open();
    executor_.reset();
    EXPECT_EQ(controls_->live_samplings, 0) << "a request's state outlived the executor";
  }

  // Every call of a model waits at gate_ before it runs.
  void StopEveryCall() {
    controls_->on_call = [this](const char* call) {
      {
        const std::lock_guard lock(calls_mutex_);
        calls_.emplace_back(call);
      }
      gate_.Pass();
      return OkStatus();
    };
  }

  // Makes the executor and waits until the models are loaded.
  void StartWith(ExecutorOptions options, ModelLoader loader = {},
                 std::vector<std::string> models = {"fake"}) {
    Make(std::move(options), std::move(loader), std::move(models));
    auto ready = std::make_shared<std::promise<void>>();
    executor_->Start([ready] { ready->set_value(); });
    ready->get_future().wait();
  }

  void Make(ExecutorOptions options, ModelLoader loader = {},
            std::vector<std::string> models = {"fake"}) {
    std::vector<ModelSpec> specs;
    for (const std::string& name : models) {
      specs.push_back({.name = name, .preload = preload_});
    }
    registry_ = std::make_unique<ModelRegistry>(std::move(specs));
    if (!loader) loader = FakeLoader(controls_);
    executor_ = std::make_unique<DeviceExecutor>(registry_.get(), std::move(loader),
                                                 std::move(options), &clock_, metrics_);
  }

  Request Submit(std::string model = "fake", int32_t steps = 2, int32_t images = 1,
                 std::optional<Clock::time_point> deadline = std::nullopt,
                 std::function<void(const std::string&)> on_event = {}) {
    Request request;
    request.observer->on_event = std::move(on_event);
    request.cancellation = std::make_shared<Cancellation>(deadline);
    GenerationParameters parameters;
    parameters.model = std::move(model);
    parameters.width_px = 8;
    parameters.height_px = 8;
    parameters.step_count = steps;
    parameters.image_count = images;
    parameters.seed = next_seed_++;
    if (draws_over_image_) parameters.init_image = std::make_shared<const RgbImage>();
    request.submitted = executor_->Submit(parameters, request.observer, request.cancellation);
    return request;
  }

  void Cancel(const Request& request) {
    request.cancellation->Cancel(StatusCode::kCancelled);
    executor_->Wake();
  }

  FakeClock clock_;
  bool preload_ = true;
  Gate gate_;
  std::mutex calls_mutex_;
  std::vector<std::string> calls_;
  int64_t next_seed_ = 1;
  bool draws_over_image_ = false;
  ExecutorObserver* metrics_ = nullptr;
  std::shared_ptr<FakeModelControls> controls_ = std::make_shared<FakeModelControls>();
  std::unique_ptr<ModelRegistry> registry_;
  std::unique_ptr<DeviceExecutor> executor_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_UNIT_ENGINE_EXECUTOR_FIXTURE_H_
