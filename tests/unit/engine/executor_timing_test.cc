// Timings, estimates and what metrics hear, on a clock that only the fake model moves.
#include "tests/unit/engine/executor_fixture.h"

#include <map>

namespace tightfit {
namespace {

using std::chrono::nanoseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;

class TimingRecorder final : public ExecutorObserver {
 public:
  void OnQueueWait(const std::string&, nanoseconds wait) override { waits.push_back(wait); }
  void OnStage(const std::string& model, Stage stage, nanoseconds duration) override {
    stages.push_back(model + " " + std::string(StageName(stage)) + " " +
                     std::to_string(duration / seconds(1)));
  }
  void OnStep(const std::string&, nanoseconds duration) override { steps.push_back(duration); }
  void OnVaeFallback(const std::string& model) override { fallbacks.push_back(model); }
  std::vector<std::string> fallbacks;
  std::vector<nanoseconds> waits;  // read after the end of the request
  std::vector<nanoseconds> steps;
  std::vector<std::string> stages;
};

class ExecutorTimingTest : public ExecutorFixture {
 protected:
  ExecutorTimingTest() { metrics_ = &recorder_; }
  ~ExecutorTimingTest() override { executor_.reset(); }

  // Every call of a model takes its time.
  void TakeTime(std::map<std::string, seconds> durations) {
    controls_->on_call = [this, durations = std::move(durations)](const char* call) {
      clock_.Advance(durations.at(call));
      return OkStatus();
    };
  }

  TimingRecorder recorder_;
};

TEST_F(ExecutorTimingTest, MeasuresEveryStageExactly) {
  StartWith({});
  TakeTime({{"begin", seconds(3)}, {"step", seconds(2)}, {"decode", seconds(5)}});
  const Request request = Submit("fake", 4, 2);
  EXPECT_TRUE(request.observer->WaitForEnd().ok());
  const GenerationTimings timings = request.observer->timings();
  EXPECT_EQ(timings.queued, seconds(0));
  EXPECT_EQ(timings.total, seconds(3 + 4 * 2 + 2 * 5));
  ASSERT_EQ(timings.stages.size(), 3u);
  EXPECT_EQ(timings.stages[0].stage, Stage::kTextEncode);
  EXPECT_EQ(timings.stages[0].duration, seconds(3));
  EXPECT_EQ(timings.stages[1].stage, Stage::kDenoise);
  EXPECT_EQ(timings.stages[1].duration, seconds(8));
  EXPECT_EQ(timings.stages[2].stage, Stage::kVaeDecode);
  EXPECT_EQ(timings.stages[2].duration, seconds(10));
  ASSERT_TRUE(executor_->Drain(seconds(60)));
  EXPECT_THAT(recorder_.stages,
              ElementsAre("fake text_encode 3", "fake denoise 8", "fake vae_decode 10"));
  EXPECT_THAT(recorder_.steps, ElementsAre(seconds(2), seconds(2), seconds(2), seconds(2)));
}

TEST_F(ExecutorTimingTest, CountsEachImageThatWasDecodedAgain) {
  StartWith({});
  controls_->falls_back = true;
  EXPECT_TRUE(Submit("fake", 1, 2).observer->WaitForEnd().ok());
  controls_->falls_back = false;
  EXPECT_TRUE(Submit("fake", 1, 2).observer->WaitForEnd().ok());
  ASSERT_TRUE(executor_->Drain(seconds(60)));
  EXPECT_THAT(recorder_.fallbacks, ElementsAre("fake", "fake"));
}

TEST_F(ExecutorTimingTest, TellsWhatBecameOfThePromptsTokens) {
  StartWith({});
  const Request request = Submit("fake", 1);
  EXPECT_TRUE(request.observer->WaitForEnd().ok());
  ASSERT_EQ(request.observer->prompt_tokens().size(), 1u);
  EXPECT_EQ(request.observer->prompt_tokens()[0].field, "prompt");
}

TEST_F(ExecutorTimingTest, EstimatesTheRestFromTheMeanStep) {
  StartWith({});
  TakeTime({{"begin", seconds(3)}, {"step", seconds(2)}, {"decode", seconds(0)}});
  const Request request = Submit("fake", 4);
  EXPECT_TRUE(request.observer->WaitForEnd().ok());
  const std::vector<GenerationProgress> progress = request.observer->progress();
  ASSERT_EQ(progress.size(), 7u);
  EXPECT_FALSE(progress[0].remaining.has_value()) << "nothing is known before the first step";
  EXPECT_FALSE(progress[1].remaining.has_value());
  EXPECT_EQ(progress[2].elapsed, seconds(5));
  EXPECT_EQ(progress[2].remaining, seconds(6));
  EXPECT_EQ(progress[3].remaining, seconds(4));
  EXPECT_EQ(progress[5].remaining, seconds(0));
}

TEST_F(ExecutorTimingTest, CountsTheTimeInTheQueueApart) {
  StartWith({.max_running_requests = 1});
  TakeTime({{"begin", seconds(1)}, {"step", seconds(1)}, {"decode", seconds(1)}});
  const auto on_call = controls_->on_call;
  controls_->on_call = [&, on_call](const char* call) {
    gate_.Pass();
    return on_call(call);
  };
  const Request first = Submit("fake", 2);
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  const Request second = Submit("fake", 2);
  gate_.Open();
  EXPECT_TRUE(second.observer->WaitForEnd().ok());
  EXPECT_EQ(second.observer->timings().queued, seconds(4));
  EXPECT_EQ(second.observer->timings().total, seconds(4));
  ASSERT_TRUE(executor_->Drain(seconds(60)));
  EXPECT_THAT(recorder_.waits, ElementsAre(seconds(0), seconds(4)));
}

TEST_F(ExecutorTimingTest, CountsTheTurnsOfOthersInTotalButNotInStages) {
  StartWith({.max_running_requests = 2});
  TakeTime({{"begin", seconds(1)}, {"step", seconds(1)}, {"decode", seconds(1)}});
  const auto on_call = controls_->on_call;
  controls_->on_call = [&, on_call](const char* call) {
    gate_.Pass();
    return on_call(call);
  };
  const Request first = Submit("fake", 2);
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  const Request second = Submit("fake", 2);
  gate_.Open();
  EXPECT_TRUE(first.observer->WaitForEnd().ok());
  EXPECT_TRUE(second.observer->WaitForEnd().ok());
  // first: begin, step, [begin], step, [step], decode.
  EXPECT_EQ(first.observer->timings().total, seconds(6));
  EXPECT_EQ(first.observer->timings().stages[1].duration, seconds(2));
}

}  // namespace
}  // namespace tightfit
