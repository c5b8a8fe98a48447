// Loading: order, failures that stay with their model, what is refused meanwhile.
#include "tests/unit/engine/executor_fixture.h"

#include <stdexcept>

namespace tightfit {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class LoadRecorder final : public ExecutorObserver {
 public:
  void OnLoaded(const std::string& model, const Status& status, std::chrono::nanoseconds) override {
    loaded.push_back(model + " " + (status.ok() ? "OK" : status.reason()));
  }
  std::vector<std::string> loaded;  // read after on_ready
};

class ExecutorLoadTest : public ExecutorFixture {};

TEST_F(ExecutorLoadTest, LoadsEveryModelInOrderBeforeItIsReady) {
  LoadRecorder recorder;
  metrics_ = &recorder;
  StartWith({}, FakeLoader(controls_), {"b", "a"});
  EXPECT_THAT(recorder.loaded, ElementsAre("b OK", "a OK"));
  EXPECT_EQ(registry_->Find("b")->state, ModelState::kResident);
  EXPECT_EQ(registry_->Find("a")->state, ModelState::kResident);
  executor_.reset();
}

TEST_F(ExecutorLoadTest, RunsThreadInitFirstOnItsThread) {
  std::vector<std::string> order;
  const ModelLoader fake = FakeLoader(controls_);
  StartWith({.thread_init = [&] { order.emplace_back("init"); }},
            [&](const ModelSpec& spec, const auto& progress) {
              order.emplace_back("load");
              return fake(spec, progress);
            });
  EXPECT_THAT(order, ElementsAre("init", "load"));
}

TEST_F(ExecutorLoadTest, ServesOneModelWhenAnotherFails) {
  LoadRecorder recorder;
  metrics_ = &recorder;
  StartWith({},
            FakeLoader(controls_, "bad",
                       Status(StatusCode::kDataLoss, "CHECKSUM_MISMATCH", "unet: wrong hash")
                           .WithDetail("/models/bad/unet.safetensors")),
            {"bad", "good"});
  EXPECT_THAT(recorder.loaded, ElementsAre("bad CHECKSUM_MISMATCH", "good OK"));
  EXPECT_TRUE(Submit("good").observer->WaitForEnd().ok());

  const Request refused = Submit("bad");
  EXPECT_EQ(refused.submitted.code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(refused.submitted.reason(), "MODEL_FAILED");
  EXPECT_EQ(refused.submitted.metadata().at("failure_reason"), "CHECKSUM_MISMATCH");
  EXPECT_EQ(refused.submitted.message().find("/models"), std::string::npos);
  EXPECT_THAT(refused.observer->events(), IsEmpty());
  EXPECT_TRUE(Submit("good").observer->WaitForEnd().ok());
  executor_.reset();
}

TEST_F(ExecutorLoadTest, TurnsAnExceptionOfTheLoaderIntoAFailedModel) {
  const ModelLoader fake = FakeLoader(controls_);
  StartWith(
      {},
      [&](const ModelSpec& spec, const auto& progress) -> Result<std::unique_ptr<DiffusionModel>> {
        if (spec.name == "bad") throw std::runtime_error("/models/bad");
        return fake(spec, progress);
      },
      {"bad", "good"});
  const ModelSnapshot bad = *registry_->Find("bad");
  EXPECT_EQ(bad.state, ModelState::kFailed);
  EXPECT_EQ(bad.failure.message().find("/models"), std::string::npos);
  EXPECT_EQ(registry_->Find("good")->state, ModelState::kResident);
}

TEST_F(ExecutorLoadTest, RefusesRequestsForAModelThatIsNotReadyYet) {
  Gate load;
  const ModelLoader fake = FakeLoader(controls_);
  Make({},
       [&](const ModelSpec& spec, const auto& progress) {
         load.Pass();
         return fake(spec, progress);
       },
       {"first", "second"});
  auto ready = std::make_shared<std::promise<void>>();
  executor_->Start([ready] { ready->set_value(); });
  ASSERT_TRUE(load.WaitForArrivals(1));
  for (const char* model : {"first", "second"}) {
    const Request request = Submit(model);
    EXPECT_EQ(request.submitted.code(), StatusCode::kUnavailable) << model;
    EXPECT_EQ(request.submitted.reason(), "MODEL_LOADING") << model;
    EXPECT_TRUE(request.submitted.retry_after().has_value()) << model;
  }
  load.Let();
  ASSERT_TRUE(load.WaitForArrivals(2));
  const Request waiting = Submit("first");
  EXPECT_TRUE(waiting.submitted.ok()) << "resident while another loads";
  load.Open();
  ready->get_future().wait();
  EXPECT_TRUE(waiting.observer->WaitForEnd().ok());
}

TEST_F(ExecutorLoadTest, TellsTheLoadsProgress) {
  Gate load;
  const ModelLoader fake = FakeLoader(controls_);
  Make({}, [&](const ModelSpec& spec, const auto& progress) {
    progress({"unet", 3, 10});
    load.Pass();
    return fake(spec, progress);
  });
  executor_->Start({});
  ASSERT_TRUE(load.WaitForArrivals(1));
  const ModelSnapshot snapshot = *registry_->Find("fake");
  EXPECT_EQ(snapshot.state, ModelState::kLoading);
  EXPECT_EQ(snapshot.loading->component, "unet");
  EXPECT_EQ(snapshot.loading->bytes_done, 3);
  EXPECT_EQ(snapshot.loading->bytes_total, 10);
  load.Open();
  executor_.reset();
}

TEST_F(ExecutorLoadTest, LoadsNoFurtherModelOnceItIsDraining) {
  Gate load;
  std::vector<std::string> tried;
  const ModelLoader fake = FakeLoader(controls_);
  Make({},
       [&](const ModelSpec& spec, const auto& progress) {
         tried.push_back(spec.name);
         load.Pass();
         return fake(spec, progress);
       },
       {"first", "second"});
  executor_->Start({});
  ASSERT_TRUE(load.WaitForArrivals(1));
  EXPECT_TRUE(executor_->Drain(std::chrono::milliseconds(0)));
  load.Open();
  executor_.reset();
  EXPECT_THAT(tried, ElementsAre("first"));
}

}  // namespace
}  // namespace tightfit
