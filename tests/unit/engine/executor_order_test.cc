// Turns, queue order, the queue's bound, and that one request's end is its own.
#include "tests/unit/engine/executor_fixture.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <utility>

namespace tightfit {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class ExecutorOrderTest : public ExecutorFixture {};

// Takes so long to note that a request waits that another report would pass it.
class SlowDepthRecorder final : public ExecutorObserver {
 public:
  void OnQueueDepth(int32_t queued, int32_t running) override {
    std::unique_lock lock(mutex_);
    if (queued == 1) recorded_.wait_for(lock, std::chrono::milliseconds(100));
    last_ = {queued, running};
    recorded_.notify_all();
  }
  std::pair<int32_t, int32_t> last() const {
    const std::lock_guard lock(mutex_);
    return last_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable recorded_;
  std::pair<int32_t, int32_t> last_;
};

TEST_F(ExecutorOrderTest, TheDepthThatIsReportedLastIsTheOneThatHolds) {
  SlowDepthRecorder depth;
  metrics_ = &depth;
  StartWith({});
  EXPECT_TRUE(Submit().observer->WaitForEnd().ok());
  EXPECT_EQ(depth.last(), std::make_pair(0, 0));
  executor_.reset();
}

TEST_F(ExecutorOrderTest, TellsEveryStageInOrderAndTheEndOnce) {
  StartWith({});
  const Request request = Submit("fake", 2, 2);
  ASSERT_TRUE(request.submitted.ok());
  EXPECT_TRUE(request.observer->WaitForEnd().ok());
  EXPECT_THAT(request.observer->events(),
              ElementsAre("queued 0", "started", "text_encode 0/2", "denoise 0/2", "denoise 1/2",
                          "denoise 2/2", "vae_decode 2/2", "image 0", "image 1", "finished OK"));
  EXPECT_EQ(request.observer->finished_count(), 1);
  EXPECT_EQ(controls_->steps, 2);
}

TEST_F(ExecutorOrderTest, GivesImagesOfTheirSeeds) {
  StartWith({});
  next_seed_ = 41;
  const Request request = Submit("fake", 1, 3);
  EXPECT_TRUE(request.observer->WaitForEnd().ok());
  const std::vector<Image> images = request.observer->images();
  ASSERT_THAT(images, SizeIs(3));
  for (int32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(images[i].index, i);
    EXPECT_EQ(images[i].seed, 41 + i);
    EXPECT_EQ(images[i].rgb[0], 41 + i);
  }
}

TEST_F(ExecutorOrderTest, GivesEveryRunningRequestOneCallInTurn) {
  StartWith({.max_running_requests = 2});
  StopEveryCall();
  std::mutex log_mutex;
  std::vector<std::string> log;
  const auto logging_as = [&](const std::string& name) {
    return [&, name](const std::string& event) {
      const std::lock_guard lock(log_mutex);
      log.push_back(name + event);
    };
  };
  const Request a = Submit("fake", 3, 1, std::nullopt, logging_as("a "));
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  const Request b = Submit("fake", 3, 1, std::nullopt, logging_as("b "));
  gate_.Open();
  EXPECT_TRUE(a.observer->WaitForEnd().ok());
  EXPECT_TRUE(b.observer->WaitForEnd().ok());

  // What each finished call was told as; the other events do not stand for a call.
  std::vector<std::string> calls;
  const std::lock_guard lock(log_mutex);
  for (const std::string& event : log) {
    if (event.ends_with("denoise 0/3") || event.ends_with("denoise 1/3") ||
        event.ends_with("denoise 2/3") || event.ends_with("denoise 3/3") ||
        event.ends_with("image 0")) {
      calls.push_back(event);
    }
  }
  EXPECT_THAT(calls, ElementsAre("a denoise 0/3", "a denoise 1/3", "b denoise 0/3", "a denoise 2/3",
                                 "b denoise 1/3", "a denoise 3/3", "b denoise 2/3", "a image 0",
                                 "b denoise 3/3", "b image 0"));
}

TEST_F(ExecutorOrderTest, StartsQueuedRequestsFirstInFirstOut) {
  StartWith({.max_running_requests = 1});
  StopEveryCall();
  std::mutex order_mutex;
  std::vector<int> order;
  std::vector<Request> requests;
  for (int i = 0; i < 5; ++i) {
    requests.push_back(Submit("fake", 1, 1, std::nullopt, [&, i](const std::string& event) {
      const std::lock_guard lock(order_mutex);
      if (event == "started") order.push_back(i);
    }));
  }
  gate_.Open();
  for (const Request& request : requests) EXPECT_TRUE(request.observer->WaitForEnd().ok());
  const std::lock_guard lock(order_mutex);
  EXPECT_THAT(order, ElementsAre(0, 1, 2, 3, 4));
}

TEST_F(ExecutorOrderTest, AnnouncesAPositionAgainWhenItChanges) {
  StartWith({.max_running_requests = 1});
  StopEveryCall();
  const Request running = Submit("fake", 1);
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  const Request next = Submit("fake", 1);
  const Request last = Submit("fake", 1);
  gate_.Open();
  EXPECT_TRUE(last.observer->WaitForEnd().ok());
  EXPECT_EQ(next.observer->events()[0], "queued 0");
  EXPECT_EQ(next.observer->events()[1], "started");
  EXPECT_EQ(last.observer->events()[0], "queued 1");
  EXPECT_EQ(last.observer->events()[1], "queued 0");
  EXPECT_EQ(last.observer->events()[2], "started");
}

TEST_F(ExecutorOrderTest, RefusesTheRequestBeyondTheBoundAndNotTheLastWithin) {
  StartWith({.max_queued_requests = 2, .max_running_requests = 1});
  StopEveryCall();
  const Request running = Submit();
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  const Request first = Submit();
  const Request second = Submit();
  EXPECT_TRUE(second.submitted.ok());
  EXPECT_EQ(executor_->queued_count(), 2);
  EXPECT_EQ(executor_->running_count(), 1);

  const Request refused = Submit();
  EXPECT_EQ(refused.submitted.code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(refused.submitted.reason(), "QUEUE_FULL");
  EXPECT_EQ(refused.submitted.metadata().at("max_queued_requests"), "2");
  ASSERT_TRUE(refused.submitted.retry_after().has_value());
  EXPECT_GT(refused.submitted.retry_after()->count(), 0);
  EXPECT_THAT(refused.observer->events(), IsEmpty());

  Cancel(first);
  gate_.Let();
  EXPECT_EQ(first.observer->WaitForEnd().code(), StatusCode::kCancelled);
  EXPECT_TRUE(Submit().submitted.ok());
}

TEST_F(ExecutorOrderTest, EstimatesTheRetryDelayFromRecentRequests) {
  StartWith({.max_queued_requests = 0, .max_running_requests = 2});
  std::atomic<bool> stop{false};
  controls_->on_call = [&](const char*) {
    clock_.Advance(std::chrono::seconds(1));
    if (stop) gate_.Pass();
    return OkStatus();
  };
  // begin, 4 steps, decode: 6 s; two run together, so a place gets free every 3 s.
  EXPECT_TRUE(Submit("fake", 4).observer->WaitForEnd().ok());
  stop = true;
  const Request first = Submit();
  const Request second = Submit();
  EXPECT_TRUE(second.submitted.ok());
  EXPECT_EQ(Submit().submitted.retry_after(), std::chrono::milliseconds(3000));
  gate_.Open();
  executor_.reset();  // before `stop` goes
}

TEST_F(ExecutorOrderTest, EndsOnlyTheRequestWhoseCallFailed) {
  StartWith({.max_running_requests = 2});
  std::atomic<int> steps{0};
  Gate second_submitted;
  controls_->on_call = [&](const char* call) -> Status {
    if (call == std::string_view("begin")) second_submitted.Pass();
    // The first step of all belongs to the request that was submitted first, and is tried twice.
    if (call == std::string_view("step") && ++steps <= 2) {
      return Status(StatusCode::kResourceExhausted, "OUT_OF_MEMORY", "no memory");
    }
    return OkStatus();
  };
  const Request failing = Submit();
  const Request other = Submit();
  second_submitted.Open();
  const Status status = failing.observer->WaitForEnd();
  EXPECT_EQ(status.reason(), "OUT_OF_MEMORY");
  EXPECT_TRUE(other.observer->WaitForEnd().ok());
  EXPECT_EQ(failing.observer->finished_count(), 1);
  EXPECT_EQ(controls_->live_samplings, 0);
}

TEST_F(ExecutorOrderTest, EndsARequestWhoseModelFailsInAnyCall) {
  StartWith({});
  for (const char* failing_call : {"begin", "step", "decode"}) {
    controls_->on_call = [&](const char* call) {
      return call == std::string_view(failing_call) ? Internal("broken") : OkStatus();
    };
    EXPECT_EQ(Submit().observer->WaitForEnd().code(), StatusCode::kInternal) << failing_call;
    EXPECT_EQ(controls_->live_samplings, 0) << failing_call;
  }
}

TEST_F(ExecutorOrderTest, TurnsAnExceptionIntoInternalWithoutItsText) {
  StartWith({});
  controls_->on_call = [](const char*) -> Status { throw std::runtime_error("/models/secret.ts"); };
  const Request request = Submit();
  const Status status = request.observer->WaitForEnd();
  EXPECT_EQ(status.code(), StatusCode::kInternal);
  EXPECT_EQ(status.message().find("secret"), std::string::npos);
  EXPECT_EQ(status.detail(), "/models/secret.ts");
  controls_->on_call = {};
  EXPECT_TRUE(Submit().observer->WaitForEnd().ok()) << "the executor must go on";
}

TEST_F(ExecutorOrderTest, TurnsABadAllocIntoResourceExhausted) {
  StartWith({});
  controls_->on_call = [](const char*) -> Status { throw std::bad_alloc(); };
  EXPECT_EQ(Submit().observer->WaitForEnd().reason(), "OUT_OF_MEMORY");
}

TEST_F(ExecutorOrderTest, RefusesAnUnknownModel) {
  StartWith({});
  const Request request = Submit("other");
  EXPECT_EQ(request.submitted.code(), StatusCode::kNotFound);
  EXPECT_EQ(request.submitted.reason(), "MODEL_NOT_FOUND");
  EXPECT_THAT(request.observer->events(), IsEmpty());
}

}  // namespace
}  // namespace tightfit
