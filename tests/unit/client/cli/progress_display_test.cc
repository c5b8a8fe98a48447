#include "client/cli/progress_display.h"

#include "client/cli/progress_tracker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace tightfit::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

class FakeClock : public Clock {
 public:
  time_point Now() const override { return now_; }
  void Advance(std::chrono::microseconds duration) { now_ += duration; }

 private:
  time_point now_{seconds(1000)};
};

client::Event Started(int32_t image_count = 1) {
  return client::Started{.request_id = "id",
                         .parameters = {.model = "apples",
                                        .width_px = 64,
                                        .height_px = 32,
                                        .step_count = 4,
                                        .guidance_scale = 5.0f,
                                        .sampler = "euler",
                                        .seed = 42,
                                        .image_count = image_count}};
}

client::Event Denoise(int32_t step, milliseconds elapsed) {
  client::Progress progress{
      .stage = client::Stage::kDenoise, .step = step, .step_count = 4, .elapsed = elapsed};
  if (step > 0) progress.remaining = elapsed / step * (4 - step);
  return progress;
}

TEST(ProgressTrackerTest, MeasuresStepsWithoutTheTextEncoder) {
  ProgressTracker tracker;
  const FakeClock clock;
  tracker.Add(Started(), clock.Now());
  tracker.Add(client::Progress{.stage = client::Stage::kTextEncode, .elapsed = milliseconds(100)},
              clock.Now());
  tracker.Add(Denoise(0, milliseconds(5000)), clock.Now());
  EXPECT_FALSE(tracker.At(clock.Now()).per_step.has_value());
  tracker.Add(Denoise(2, milliseconds(6000)), clock.Now());
  EXPECT_EQ(tracker.At(clock.Now()).per_step, milliseconds(500));
}

TEST(ProgressTrackerTest, MeasuresTheFirstStepFromTheEventBeforeIt) {
  ProgressTracker tracker;
  const FakeClock clock;
  tracker.Add(Started(), clock.Now());
  tracker.Add(client::Progress{.stage = client::Stage::kTextEncode, .elapsed = milliseconds(3000)},
              clock.Now());
  tracker.Add(Denoise(1, milliseconds(3400)), clock.Now());
  EXPECT_EQ(tracker.At(clock.Now()).per_step, milliseconds(400));
}

TEST(ProgressTrackerTest, TimesGoOnBetweenEvents) {
  ProgressTracker tracker;
  FakeClock clock;
  tracker.Add(Started(), clock.Now());
  tracker.Add(Denoise(2, milliseconds(2000)), clock.Now());
  clock.Advance(milliseconds(700));
  EXPECT_EQ(tracker.At(clock.Now()).elapsed, milliseconds(2700));
  EXPECT_EQ(tracker.At(clock.Now()).remaining, milliseconds(1300));
  clock.Advance(seconds(60));
  EXPECT_EQ(tracker.At(clock.Now()).remaining, milliseconds(0));
}

TEST(ProgressTrackerTest, WaitingTimeCountsFromTheFirstNotice) {
  ProgressTracker tracker;
  FakeClock clock;
  tracker.Add(client::Queued{2}, clock.Now());
  clock.Advance(milliseconds(4000));
  tracker.Add(client::Queued{1}, clock.Now());
  EXPECT_EQ(tracker.At(clock.Now()).elapsed, milliseconds(4000));
  EXPECT_EQ(tracker.At(clock.Now()).label, "queued, 1 request ahead");
}

TEST(ProgressTrackerTest, NumbersTheImagesThatAreDecoded) {
  ProgressTracker tracker;
  const FakeClock clock;
  tracker.Add(Started(3), clock.Now());
  tracker.Add(client::Image{.index = 0}, clock.Now());
  tracker.Add(client::Progress{.stage = client::Stage::kVaeDecode, .step = 4, .step_count = 4},
              clock.Now());
  EXPECT_EQ(tracker.At(clock.Now()).label, "decode image 2/3");
}

class ProgressDisplayTest : public ::testing::Test {
 protected:
  void Make(ProgressMode mode) {
    display_.emplace(
        mode, TextStyle{}, [] { return 60; }, [this](std::string_view text) { text_ += text; },
        clock_);
  }

  FakeClock clock_;
  std::string text_;
  std::optional<ProgressDisplay> display_;
};

TEST_F(ProgressDisplayTest, LinesComeAtMostOnceASecond) {
  Make(ProgressMode::kLines);
  display_->OnEvent(Started());
  const std::string start = "apples 64x32 px, 4 steps of euler, guidance 5, seed 42  [id]\n";
  EXPECT_EQ(text_, start);
  clock_.Advance(milliseconds(999));
  display_->OnEvent(Denoise(1, milliseconds(999)));
  EXPECT_EQ(text_, start);
  clock_.Advance(milliseconds(1));
  display_->OnEvent(Denoise(2, milliseconds(1000)));
  EXPECT_EQ(text_, start + "denoise 2/4, 0.50 s/step, 1.0 s, 1.0 s left\n");
  clock_.Advance(milliseconds(500));
  display_->OnEvent(Denoise(3, milliseconds(1500)));
  EXPECT_THAT(text_, Not(HasSubstr("3/4")));
}

TEST_F(ProgressDisplayTest, QuietSaysNothing) {
  Make(ProgressMode::kQuiet);
  display_->OnEvent(Started());
  display_->OnEvent(Denoise(2, milliseconds(1000)));
  display_->Say("hello");
  display_->Finish();
  EXPECT_EQ(text_, "");
}

TEST_F(ProgressDisplayTest, BarMakesRoomForLinesAndVanishes) {
  Make(ProgressMode::kBar);
  display_->OnEvent(client::Queued{1});
  display_->Say("hello");
  display_->Finish();
  display_->Say("done");
  const std::string bar = "\rqueued, 1 request ahead    0.0 s\x1b[K";
  // Redraws by time may repeat the bar anywhere before Finish, and nothing else.
  std::string once = text_;
  for (size_t at; (at = once.find(bar + bar)) != std::string::npos;) once.erase(at, bar.size());
  EXPECT_EQ(once, bar + "\r\x1b[Khello\n" + bar + "\r\x1b[Kdone\n");
}

TEST_F(ProgressDisplayTest, TheBarIsRedrawnTenTimesASecondWhateverComes) {
  Make(ProgressMode::kBar);
  client::Progress load{.stage = client::Stage::kModelLoad, .step_count = 5000};
  for (int i = 0; i < 5000; ++i) {  // of one second
    clock_.Advance(std::chrono::microseconds(200));
    load.step = i;
    display_->OnEvent(load);
  }
  const auto drawn = std::count(text_.begin(), text_.end(), '\r');
  EXPECT_GE(drawn, 9);
  EXPECT_LE(drawn, 11);
  display_->Finish();
}

}  // namespace
}  // namespace tightfit::cli
