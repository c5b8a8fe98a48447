// Drain and the end of the executor.
#include "tests/unit/engine/executor_fixture.h"

#include <thread>

namespace tightfit {
namespace {

using ::testing::IsEmpty;

class ExecutorDrainTest : public ExecutorFixture {};

TEST_F(ExecutorDrainTest, ReturnsAtOnceWhenIdle) {
  StartWith({});
  EXPECT_TRUE(executor_->Drain(std::chrono::milliseconds(0)));
}

TEST_F(ExecutorDrainTest, FinishesWhatRunsAndWhatIsQueued) {
  StartWith({.max_running_requests = 1});
  StopEveryCall();
  std::vector<Request> requests;
  for (int i = 0; i < 4; ++i) requests.push_back(Submit());
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  executor_->StopAccepting();
  bool drained = false;
  std::thread drain([&] { drained = executor_->Drain(std::chrono::minutes(1)); });
  const Request refused = Submit();
  EXPECT_EQ(refused.submitted.code(), StatusCode::kUnavailable);
  EXPECT_EQ(refused.submitted.reason(), "DRAINING");
  EXPECT_TRUE(refused.submitted.retry_after().has_value());
  EXPECT_THAT(refused.observer->events(), IsEmpty());
  gate_.Open();
  drain.join();
  EXPECT_TRUE(drained);
  for (const Request& request : requests) {
    EXPECT_EQ(request.observer->events().back(), "finished OK");
  }
}

TEST_F(ExecutorDrainTest, CancelsWhatIsLeftAtTheLimit) {
  StartWith({.max_running_requests = 1});
  StopEveryCall();
  // Too many steps to ever end by themselves.
  const Request running = Submit("fake", 1'000'000'000);
  const Request queued = Submit();
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  gate_.Open();
  const bool drained = executor_->Drain(std::chrono::milliseconds(1));
  EXPECT_FALSE(drained);
  EXPECT_EQ(running.observer->WaitForEnd().code(), StatusCode::kUnavailable);
  EXPECT_EQ(running.observer->WaitForEnd().reason(), "DRAINING");
  EXPECT_EQ(queued.observer->WaitForEnd().reason(), "DRAINING");
  EXPECT_EQ(controls_->live_samplings, 0);
  EXPECT_EQ(queued.observer->finished_count(), 1);
}

TEST_F(ExecutorDrainTest, HasToldEveryObserverWhenItReturns) {
  StartWith({});
  std::vector<Request> requests;
  for (int i = 0; i < 20; ++i) requests.push_back(Submit("fake", 3));
  EXPECT_TRUE(executor_->Drain(std::chrono::minutes(1)));
  for (const Request& request : requests) EXPECT_EQ(request.observer->finished_count(), 1);
}

TEST_F(ExecutorDrainTest, DestructionCancelsEverything) {
  StartWith({.max_running_requests = 1});
  StopEveryCall();
  const Request running = Submit("fake", 50);
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  const Request queued = Submit();
  std::thread destroy([&] { executor_.reset(); });
  gate_.Open();
  destroy.join();
  for (const Request& request : {running, queued}) {
    const std::string end = request.observer->events().back();
    EXPECT_TRUE(end == "finished DRAINING" || end == "finished OK") << end;
    EXPECT_EQ(request.observer->finished_count(), 1);
  }
  EXPECT_EQ(controls_->live_samplings, 0);
}

TEST_F(ExecutorDrainTest, DestroysModelsOnTheThreadThatMadeThem) {
  struct ThreadChecked final : DiffusionModel {
    explicit ThreadChecked(std::thread::id* destroyed_on) : destroyed_on(destroyed_on) {}
    ~ThreadChecked() override { *destroyed_on = std::this_thread::get_id(); }
    const ModelDescription& description() const override { return text; }
    Result<std::unique_ptr<Sampling>> Begin(const GenerationParameters&) override {
      return Internal("unused");
    }
    Status Step(std::span<Sampling* const>) override { return OkStatus(); }
    Result<std::optional<Image>> DecodeNext(Sampling&) override { return Internal("unused"); }
    ModelDescription text = FakeDescription("fake");
    std::thread::id* destroyed_on;
  };
  std::thread::id made_on;
  std::thread::id destroyed_on;
  StartWith({}, [&](const ModelSpec&, const auto&) -> Result<std::unique_ptr<DiffusionModel>> {
    made_on = std::this_thread::get_id();
    return std::unique_ptr<DiffusionModel>(std::make_unique<ThreadChecked>(&destroyed_on));
  });
  executor_.reset();
  EXPECT_EQ(made_on, destroyed_on);
  EXPECT_NE(made_on, std::this_thread::get_id());
}

}  // namespace
}  // namespace tightfit
