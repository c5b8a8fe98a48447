// Cancel and deadline at every phase: the slot is free within one call of the model.
#include "tests/unit/engine/executor_fixture.h"

namespace tightfit {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;

class CancelRecorder final : public ExecutorObserver {
 public:
  void OnCancelled(const std::string& model, std::string_view stage) override {
    const std::lock_guard lock(mutex_);
    cancelled_.push_back(model + " " + std::string(stage));
  }
  void OnQueueDepth(int32_t queued, int32_t running) override {
    const std::lock_guard lock(mutex_);
    depth_ = {queued, running};
  }
  std::vector<std::string> cancelled() const {
    const std::lock_guard lock(mutex_);
    return cancelled_;
  }
  std::pair<int32_t, int32_t> depth() const {
    const std::lock_guard lock(mutex_);
    return depth_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> cancelled_;
  std::pair<int32_t, int32_t> depth_;
};

class ExecutorCancellationTest : public ExecutorFixture {
 protected:
  ExecutorCancellationTest() { metrics_ = &recorder_; }
  ~ExecutorCancellationTest() override {
    gate_.Open();
    executor_.reset();  // before recorder_ dies
  }

  // Lets calls through until `count` have begun in all; the last of them is stopped.
  void RunUntilCall(int count) {
    gate_.Let(count - 1);
    ASSERT_TRUE(gate_.WaitForArrivals(count));
  }

  CancelRecorder recorder_;
};

TEST_F(ExecutorCancellationTest, TakesACancelledRequestOutOfTheQueue) {
  StartWith({.max_running_requests = 1});
  StopEveryCall();
  const Request running = Submit();
  RunUntilCall(1);
  const Request queued = Submit();
  const Request behind = Submit();
  Cancel(queued);
  gate_.Let();
  const Status status = queued.observer->WaitForEnd();
  EXPECT_EQ(status.code(), StatusCode::kCancelled);
  EXPECT_EQ(status.metadata().at("stage"), "queued");
  EXPECT_THAT(queued.observer->events(), ElementsAre("queued 0", "finished CANCELLED"));
  EXPECT_THAT(running.observer->events(), Not(Contains("finished OK")));
  EXPECT_TRUE(behind.observer->WaitFor("queued 0"));
  EXPECT_THAT(recorder_.cancelled(), ElementsAre("fake queued"));
}

TEST_F(ExecutorCancellationTest, StopsBeforeTheNextStep) {
  StartWith({});
  StopEveryCall();
  const Request request = Submit("fake", 50);
  int live_at_end = -1;
  request.observer->at_finish = [&] { live_at_end = controls_->live_samplings; };
  RunUntilCall(3);  // begin, step 1, step 2 has begun
  Cancel(request);
  gate_.Let();
  const Status status = request.observer->WaitForEnd();
  EXPECT_EQ(status.code(), StatusCode::kCancelled);
  EXPECT_EQ(status.metadata().at("stage"), "denoise");
  EXPECT_EQ(status.metadata().at("steps_done"), "2");
  EXPECT_EQ(controls_->steps, 2);
  EXPECT_EQ(live_at_end, 0) << "the state must be gone when the client hears of the end";
  EXPECT_EQ(executor_->running_count(), 0);
  EXPECT_EQ(recorder_.depth(), (std::pair<int32_t, int32_t>(0, 0)));
}

TEST_F(ExecutorCancellationTest, StopsBeforeTheFirstStep) {
  StartWith({});
  StopEveryCall();
  const Request request = Submit();
  RunUntilCall(1);  // begin
  Cancel(request);
  gate_.Let();
  EXPECT_EQ(request.observer->WaitForEnd().code(), StatusCode::kCancelled);
  EXPECT_EQ(controls_->steps, 0);
  EXPECT_EQ(controls_->live_samplings, 0);
}

TEST_F(ExecutorCancellationTest, StopsBeforeTheDecoder) {
  StartWith({});
  StopEveryCall();
  const Request request = Submit("fake", 2);
  RunUntilCall(3);  // begin, step, step
  Cancel(request);
  gate_.Let();
  const Status status = request.observer->WaitForEnd();
  EXPECT_EQ(status.metadata().at("stage"), "vae_decode");
  EXPECT_EQ(controls_->decoded, 0);
  EXPECT_EQ(controls_->live_samplings, 0);
  EXPECT_THAT(recorder_.cancelled(), ElementsAre("fake vae_decode"));
}

TEST_F(ExecutorCancellationTest, StopsBetweenTwoImages) {
  StartWith({});
  StopEveryCall();
  const Request request = Submit("fake", 1, 3);
  RunUntilCall(3);  // begin, step, decode
  Cancel(request);
  gate_.Let();
  EXPECT_EQ(request.observer->WaitForEnd().code(), StatusCode::kCancelled);
  EXPECT_EQ(controls_->decoded, 1);
}

TEST_F(ExecutorCancellationTest, GivesTheFreedSlotToTheNextRequest) {
  StartWith({.max_running_requests = 1});
  StopEveryCall();
  const Request first = Submit("fake", 50);
  RunUntilCall(2);
  const Request second = Submit("fake", 1);
  Cancel(first);
  gate_.Let();
  EXPECT_TRUE(second.observer->WaitFor("started"));
  EXPECT_EQ(controls_->steps, 1);
  gate_.Open();
  EXPECT_TRUE(second.observer->WaitForEnd().ok());
}

TEST_F(ExecutorCancellationTest, StopsARunningRequestAtItsDeadline) {
  StartWith({});
  StopEveryCall();
  const Request request = Submit("fake", 50, 1, clock_.Now() + std::chrono::seconds(10));
  RunUntilCall(2);
  clock_.Advance(std::chrono::seconds(9));
  gate_.Let();
  ASSERT_TRUE(gate_.WaitForArrivals(3)) << "a second before the deadline the work goes on";
  clock_.Advance(std::chrono::seconds(1));
  gate_.Let();
  const Status status = request.observer->WaitForEnd();
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(status.reason(), "DEADLINE_EXCEEDED");
  EXPECT_EQ(controls_->steps, 2);
  EXPECT_EQ(controls_->live_samplings, 0);
}

TEST_F(ExecutorCancellationTest, TakesARequestOutOfTheQueueAtItsDeadline) {
  StartWith({.max_running_requests = 1});
  StopEveryCall();
  const Request running = Submit();
  RunUntilCall(1);
  const Request queued = Submit("fake", 1, 1, clock_.Now() + std::chrono::seconds(1));
  clock_.Advance(std::chrono::seconds(1));
  gate_.Let();
  EXPECT_EQ(queued.observer->WaitForEnd().code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(controls_->begun, 1);
}

TEST_F(ExecutorCancellationTest, NeverStartsARequestWhoseDeadlineHasPassed) {
  StartWith({});
  const Request request = Submit("fake", 1, 1, clock_.Now());
  EXPECT_EQ(request.observer->WaitForEnd().code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(controls_->begun, 0);
}

TEST_F(ExecutorCancellationTest, DoesNotDisturbTheOtherRequests) {
  StartWith({.max_running_requests = 3});
  StopEveryCall();
  std::vector<Request> requests;
  for (int i = 0; i < 3; ++i) requests.push_back(Submit("fake", 4));
  RunUntilCall(4);
  Cancel(requests[1]);
  gate_.Open();
  EXPECT_TRUE(requests[0].observer->WaitForEnd().ok());
  EXPECT_EQ(requests[1].observer->WaitForEnd().code(), StatusCode::kCancelled);
  EXPECT_TRUE(requests[2].observer->WaitForEnd().ok());
  for (const Request& request : requests) EXPECT_EQ(request.observer->finished_count(), 1);
}

TEST_F(ExecutorCancellationTest, ACancelAfterTheEndChangesNothing) {
  StartWith({});
  const Request request = Submit();
  EXPECT_TRUE(request.observer->WaitForEnd().ok());
  Cancel(request);
  EXPECT_TRUE(Submit().observer->WaitForEnd().ok());
  EXPECT_EQ(request.observer->finished_count(), 1);
}

TEST_F(ExecutorCancellationTest, ReachesARequestThatWaitsBehindALoad) {
  Gate load;
  const ModelLoader fake = FakeLoader(controls_);
  Make({},
       [&](const ModelSpec& spec, const auto& progress) {
         while (spec.name == "slow" && load.Pass()) {
           progress({"unet", 1, 2});
           if (controls_->begun > 0) break;
         }
         return fake(spec, progress);
       },
       {"fast", "slow"});
  auto ready = std::make_shared<std::promise<void>>();
  executor_->Start([ready] { ready->set_value(); });
  ASSERT_TRUE(load.WaitForArrivals(1));
  const Request request = Submit("fast");
  ASSERT_TRUE(request.submitted.ok());
  Cancel(request);
  load.Let();
  EXPECT_EQ(request.observer->WaitForEnd().code(), StatusCode::kCancelled);
  ASSERT_TRUE(load.WaitForArrivals(2)) << "the load goes on";
  controls_->begun = 1;
  load.Open();
  ready->get_future().wait();
}

}  // namespace
}  // namespace tightfit
