// What turns out larger than was planned with: weights after a load, and the VAE in fp32.
#include "tests/unit/engine/executor_fixture.h"

#include <map>

namespace tightfit {
namespace {

using ::testing::ElementsAre;

constexpr int64_t kEstimateBytes = 100;
constexpr int64_t kRowBytes = 20;  // of one row; guidance is off
constexpr int64_t kFallbackBytes = 50;
constexpr int64_t kDecodeBytes = 30;
constexpr int64_t kEncoderBytes = 40;
constexpr int64_t kEncodeBytes = 700;  // of an image that is drawn over

class ExecutorGrowthTest : public ExecutorFixture {
 protected:
  ExecutorGrowthTest() { preload_ = false; }
  ~ExecutorGrowthTest() override {
    gate_.Open();
    executor_.reset();
    EXPECT_EQ(ledger_->reserved_bytes(), 0) << "something was not given back";
  }

  static ModelDescription DescriptionOf(const std::string& name, int64_t bytes) {
    ModelDescription description = FakeDescription(name);
    RequestCosts costs = CostsOfRows(kRowBytes);
    costs.row_bytes = 0;
    costs.decode.points = {{.latents = 1, .bytes = kDecodeBytes}};
    costs.encode_image.points = {{.latents = 1, .bytes = kEncodeBytes}};
    description.memory = {
        .weights = {{.component = "unet", .content_key = "unet of " + name, .bytes = bytes}},
        .on_demand = {{OnDemand::kFp32Vae, {.bytes = kFallbackBytes}},
                      {OnDemand::kVaeEncoder, {.bytes = kEncoderBytes}}},
        .costs = costs};
    return description;
  }

  void StartWithLimit(int64_t limit_bytes, std::vector<std::string> models) {
    ledger_ = std::make_unique<DeviceLedger>(limit_bytes);
    StartWith(
        {.describe = [](const ModelSpec& spec) -> Result<ModelDescription> {
           return DescriptionOf(spec.name, kEstimateBytes);
         },
         .ledger = ledger_.get()},
        [this](const ModelSpec& spec,
               const auto& progress) -> Result<std::unique_ptr<DiffusionModel>> {
          ++loads_[spec.name];
          progress({"unet", 1, 2});
          const auto size = sizes_.find(spec.name);
          const int64_t bytes = size == sizes_.end() ? kEstimateBytes : size->second;
          return MakeFakeModel(spec.name, controls_, DescriptionOf(spec.name, bytes).memory);
        },
        std::move(models));
  }

  Status Run(const std::string& model, int32_t images = 1) {
    return Submit(model, 1, images).observer->WaitForEnd();
  }
  Status Load(const std::string& model) {
    std::promise<Status> done;
    executor_->Load(model, [&](const Status& status) { done.set_value(status); });
    return done.get_future().get();
  }
  Status Unload(const std::string& model) {
    std::promise<Status> done;
    executor_->Unload(model, false, [&](const Status& status) { done.set_value(status); });
    return done.get_future().get();
  }
  ModelState StateOf(const std::string& model) const { return registry_->Find(model)->state; }

  std::unique_ptr<DeviceLedger> ledger_;
  std::map<std::string, int64_t> sizes_;  // of what is loaded, where they differ from the estimate
  std::map<std::string, std::atomic<int>> loads_;
};

// A third of the weights stays unpacked, and the limit has room for what was estimated beside the
// idle model, but for no more.
TEST_F(ExecutorGrowthTest, ALargerModelDrivesIdleOnesOut) {
  sizes_["large"] = kEstimateBytes * 4 / 3;
  StartWithLimit(2 * kEstimateBytes + kDecodeBytes + 1, {"idle", "large"});
  ASSERT_TRUE(Load("idle").ok());
  EXPECT_TRUE(Run("large").ok());
  EXPECT_EQ(StateOf("large"), ModelState::kResident);
  EXPECT_EQ(StateOf("idle"), ModelState::kUnloaded);
  EXPECT_EQ(loads_["large"], 1) << "what was loaded is kept";
  EXPECT_EQ(ledger_->reserved_bytes(), kEstimateBytes * 4 / 3);
}

TEST_F(ExecutorGrowthTest, ThatFailsOnceIsPlannedWithItsTrueSizeFromThenOn) {
  sizes_["large"] = kEstimateBytes * 4 / 3;
  StartWithLimit(2 * kEstimateBytes + kDecodeBytes + 1, {"busy", "large"});
  ASSERT_TRUE(Load("busy").ok());
  StopEveryCall();
  const Request running = Submit("busy", 1);
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  const auto loaded = std::make_shared<std::promise<Status>>();
  executor_->Load("large", [loaded](const Status& status) { loaded->set_value(status); });
  gate_.Let(1);
  const Status refused = loaded->get_future().get();
  EXPECT_EQ(refused.code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(StateOf("large"), ModelState::kUnloaded);
  EXPECT_EQ(registry_->Find("large")->description->memory.weight_bytes(), kEstimateBytes * 4 / 3);
  // It waits for the room that it needs, and is loaded once more, not twice.
  const Request waiting = Submit("large", 1);
  gate_.Open();
  EXPECT_TRUE(running.observer->WaitForEnd().ok());
  EXPECT_TRUE(waiting.observer->WaitForEnd().ok());
  EXPECT_EQ(loads_["large"], 2);
}

TEST_F(ExecutorGrowthTest, ThatCanNeverFitIsRefusedWithItsBytes) {
  sizes_["large"] = 10 * kEstimateBytes;
  StartWithLimit(2 * kEstimateBytes, {"large"});
  const Status first = Run("large");
  const Status next = Submit("large").submitted;
  for (const Status& status : {first, next}) {
    EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
    EXPECT_EQ(status.reason(), "EXCEEDS_DEVICE_MEMORY");
    EXPECT_EQ(status.metadata().at("total_bytes"), std::to_string(2 * kEstimateBytes));
    EXPECT_GE(std::stoll(status.metadata().at("needed_bytes")), 10 * kEstimateBytes);
  }
  EXPECT_EQ(loads_["large"], 1) << "it is not loaded in vain again";
  EXPECT_EQ(ledger_->reserved_bytes(), 0);
}

TEST_F(ExecutorGrowthTest, SetsTheFallbacksWeightsAsideUntilTheModelLeaves) {
  controls_->needs_fallback = true;
  StartWithLimit(kEstimateBytes + kFallbackBytes + 2 * kDecodeBytes, {"a"});
  std::atomic<int64_t> reserved{0};
  controls_->on_call = [&](const char* call) {
    if (call == std::string_view("decode")) reserved = ledger_->reserved_bytes();
    return OkStatus();
  };
  EXPECT_TRUE(Run("a", 2).ok());
  EXPECT_EQ(reserved, kEstimateBytes + kFallbackBytes + 2 * kDecodeBytes);
  EXPECT_EQ(ledger_->reserved_bytes(), kEstimateBytes + kFallbackBytes);
  EXPECT_TRUE(Run("a").ok()) << "a second time nothing more is set aside";
  EXPECT_EQ(ledger_->reserved_bytes(), kEstimateBytes + kFallbackBytes);
  EXPECT_TRUE(Unload("a").ok());
  EXPECT_EQ(ledger_->reserved_bytes(), 0);
  EXPECT_TRUE(Run("a").ok()) << "and it starts over when it returns";
}

TEST_F(ExecutorGrowthTest, TheFallbackDrivesIdleModelsOut) {
  StartWithLimit(2 * kEstimateBytes + kFallbackBytes + 2 * kDecodeBytes - 1, {"idle", "a"});
  ASSERT_TRUE(Load("idle").ok());
  controls_->needs_fallback = true;
  EXPECT_TRUE(Run("a").ok());
  EXPECT_EQ(StateOf("idle"), ModelState::kUnloaded);
}

TEST_F(ExecutorGrowthTest, WithoutRoomForTheFallbackTheRequestEndsBeforeItIsLoaded) {
  controls_->needs_fallback = true;
  StartWithLimit(kEstimateBytes + kFallbackBytes + 2 * kDecodeBytes - 1, {"a"});
  const Status status = Run("a");
  EXPECT_EQ(status.reason(), "EXCEEDS_DEVICE_MEMORY");
  EXPECT_EQ(controls_->decoded, 0);
  EXPECT_EQ(ledger_->reserved_bytes(), kEstimateBytes);
}

// While a request that draws over an image begins.
TEST_F(ExecutorGrowthTest, SetsTheImageEncodersWeightsAsideUntilTheModelLeaves) {
  StartWithLimit(kEstimateBytes + kEncoderBytes + kEncodeBytes, {"a"});
  std::vector<int64_t> reserved;
  controls_->on_call = [&](const char* call) {
    if (call == std::string_view("begin")) reserved.push_back(ledger_->reserved_bytes());
    return OkStatus();
  };
  ASSERT_TRUE(Run("a").ok());
  EXPECT_EQ(ledger_->reserved_bytes(), kEstimateBytes) << "requests without images need none";
  draws_over_image_ = true;
  EXPECT_TRUE(Run("a").ok());
  EXPECT_EQ(ledger_->reserved_bytes(), kEstimateBytes + kEncoderBytes);
  EXPECT_TRUE(Run("a").ok()) << "a second time nothing more is set aside";
  EXPECT_TRUE(Unload("a").ok());
  EXPECT_EQ(ledger_->reserved_bytes(), 0);
  EXPECT_TRUE(Run("a").ok()) << "and it starts over when it returns";
  constexpr int64_t kWithImage = kEstimateBytes + kEncoderBytes + kEncodeBytes;
  EXPECT_THAT(reserved,
              ElementsAre(kEstimateBytes + kDecodeBytes, kWithImage, kWithImage, kWithImage));
}

TEST_F(ExecutorGrowthTest, TheImageEncoderDrivesIdleModelsOut) {
  StartWithLimit(2 * kEstimateBytes + kEncoderBytes + kEncodeBytes - 1, {"idle", "a"});
  ASSERT_TRUE(Load("idle").ok());
  ASSERT_TRUE(Run("a").ok());
  EXPECT_EQ(StateOf("idle"), ModelState::kResident) << "control";
  draws_over_image_ = true;
  EXPECT_TRUE(Run("a").ok());
  EXPECT_EQ(StateOf("idle"), ModelState::kUnloaded);
}

TEST_F(ExecutorGrowthTest, WithoutRoomForTheImageEncoderTheRequestIsRefusedBeforeItBegins) {
  StartWithLimit(kEstimateBytes + kEncoderBytes + kEncodeBytes - 1, {"a"});
  ASSERT_TRUE(Run("a").ok()) << "control";
  const int begun = controls_->begun;
  draws_over_image_ = true;
  const Status refused = Submit("a").submitted;
  EXPECT_EQ(refused.reason(), "EXCEEDS_DEVICE_MEMORY");
  EXPECT_EQ(refused.metadata().at("needed_bytes"),
            std::to_string(kEstimateBytes + kEncoderBytes + kEncodeBytes));
  EXPECT_EQ(controls_->begun, begun);
  EXPECT_EQ(ledger_->reserved_bytes(), kEstimateBytes);
}

TEST_F(ExecutorGrowthTest, AnEstimateCountsTheImageEncoderAmongTheWeightsUntilItIsThere) {
  StartWithLimit(1000, {"a"});
  ASSERT_TRUE(Run("a").ok());
  GenerationParameters parameters;
  parameters.model = "a";
  parameters.width_px = parameters.height_px = 8;
  EXPECT_EQ(executor_->Estimate(parameters).plan.weight_bytes, 0) << "control";
  parameters.init_image = std::make_shared<const RgbImage>();
  RequestEstimate estimate = executor_->Estimate(parameters);
  EXPECT_EQ(estimate.plan.weight_bytes, kEncoderBytes);
  EXPECT_EQ(estimate.plan.request_bytes, kEncodeBytes);
  draws_over_image_ = true;
  ASSERT_TRUE(Run("a").ok());
  estimate = executor_->Estimate(parameters);
  EXPECT_EQ(estimate.plan.weight_bytes, 0);
  EXPECT_EQ(estimate.plan.request_bytes, kEncodeBytes);
}

// A step of several requests fails at the second: the first has had its step.
TEST(StepOnceTest, DoesNotStepAMemberTwice) {
  const auto controls = std::make_shared<FakeModelControls>();
  class FailingOnce final : public DiffusionModel {
   public:
    explicit FailingOnce(std::unique_ptr<DiffusionModel> model) : model_(std::move(model)) {}
    const ModelDescription& description() const override { return model_->description(); }
    Result<std::unique_ptr<Sampling>> Begin(const GenerationParameters& parameters) override {
      return model_->Begin(parameters);
    }
    Status Step(std::span<Sampling* const> batch) override {
      for (Sampling* const member : batch) {
        if (member == failing && !has_failed) {
          has_failed = true;
          return {StatusCode::kResourceExhausted, "OUT_OF_MEMORY", "full"};
        }
        TF_RETURN_IF_ERROR(model_->Step(std::span(&member, 1)));
      }
      return OkStatus();
    }
    Result<std::optional<Image>> DecodeNext(Sampling& sampling) override {
      return model_->DecodeNext(sampling);
    }
    const Sampling* failing = nullptr;
    bool has_failed = false;

   private:
    const std::unique_ptr<DiffusionModel> model_;
  };
  FailingOnce model(MakeFakeModel("fake", controls));
  GenerationParameters parameters;
  parameters.step_count = 4;
  std::vector<std::unique_ptr<Sampling>> samplings;
  std::vector<Sampling*> batch;
  for (int i = 0; i < 3; ++i) {
    samplings.push_back(std::move(model.Begin(parameters)).value());
    batch.push_back(samplings.back().get());
  }
  model.failing = batch[1];
  const std::vector<int32_t> before(3, 0);
  EXPECT_EQ(StepOnce(model, batch, before).reason(), "OUT_OF_MEMORY");
  EXPECT_TRUE(StepOnce(model, batch, before).ok());
  for (const Sampling* const member : batch) EXPECT_EQ(member->steps_done(), 1);
}

}  // namespace
}  // namespace tightfit
