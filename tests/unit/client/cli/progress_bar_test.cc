#include "client/cli/progress_bar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tightfit::cli {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::Not;

ProgressState Half() {
  return {.label = "denoise",
          .step = 12,
          .step_count = 24,
          .elapsed = milliseconds(10'100),
          .per_step = milliseconds(840),
          .remaining = milliseconds(9'900)};
}

TEST(ProgressBarTest, ShowsEverythingWhereThereIsRoom) {
  EXPECT_EQ(RenderProgressBar(Half(), 120, {}),
            "denoise       [###################-------------------]  12/24  0.84 s/step     10 s"
            "    9.9 s left");
  EXPECT_EQ(RenderProgressBar(Half(), 120, {.unicode = true}),
            "denoise       ━━━━━━━━━━━━━━━━━━━━────────────────────  12/24  0.84 s/step     10 s"
            "    9.9 s left");
}

TEST(ProgressBarTest, NeverPassesTheWidth) {
  for (int width = 0; width <= 130; ++width) {
    for (const bool unicode : {false, true}) {
      for (int step = 0; step <= 24; ++step) {
        ProgressState state = Half();
        state.step = step;
        const std::string line = RenderProgressBar(state, width, {.unicode = unicode});
        ASSERT_LE(ColumnCount(line), width) << line;
      }
    }
  }
}

TEST(ProgressBarTest, DropsTheLeastNeededFirst) {
  const auto at = [](int width) { return RenderProgressBar(Half(), width, {}); };
  EXPECT_THAT(at(72), HasSubstr("10 s"));
  EXPECT_THAT(at(60), Not(HasSubstr("10 s")));
  EXPECT_THAT(at(60), HasSubstr("0.84 s/step"));
  EXPECT_THAT(at(47), Not(HasSubstr("s/step")));
  EXPECT_THAT(at(47), HasSubstr("9.9 s left"));
  EXPECT_THAT(at(33), Not(HasSubstr("left")));
  EXPECT_EQ(at(33), "denoise       [#####-----]  12/24");
  EXPECT_EQ(at(25), "denoise       12/24");
  EXPECT_EQ(at(10), "12/24");
  EXPECT_EQ(at(4), "");
}

TEST(ProgressBarTest, IsEmptyAtTheStartAndFullAtTheEnd) {
  ProgressState state{.label = "denoise", .step = 0, .step_count = 8};
  EXPECT_THAT(RenderProgressBar(state, 40, {}), HasSubstr("[----------]  0/8    0.0 s"));
  EXPECT_THAT(RenderProgressBar(state, 40, {.unicode = true}), Not(HasSubstr("━")));
  state.step = 8;
  EXPECT_THAT(RenderProgressBar(state, 40, {}), HasSubstr("[##########]  8/8    0.0 s"));
  EXPECT_THAT(RenderProgressBar(state, 40, {.unicode = true}), Not(HasSubstr("─")));
}

TEST(ProgressBarTest, StaysInBoundsForImpossibleCounts) {
  EXPECT_THAT(RenderProgressBar({.label = "x", .step = 99, .step_count = 8}, 60, {}),
              HasSubstr("#]  99/8"));
  EXPECT_THAT(RenderProgressBar({.label = "x", .step = -3, .step_count = 8}, 60, {}),
              HasSubstr("[---"));
}

TEST(ProgressBarTest, HasNoBarWithoutACount) {
  EXPECT_EQ(RenderProgressBar({.label = "queued, 2 requests ahead", .elapsed = milliseconds(2000)},
                              80, {.unicode = true}),
            "queued, 2 requests ahead    2.0 s");
}

TEST(ProgressBarTest, ColourTakesNoRoom) {
  const std::string plain = RenderProgressBar(Half(), 80, {.unicode = true});
  std::string painted = RenderProgressBar(Half(), 80, {.colour = true, .unicode = true});
  for (const std::string code : {"\x1b[32m", "\x1b[0m"}) {
    ASSERT_NE(painted.find(code), std::string::npos);
    painted.erase(painted.find(code), code.size());
  }
  EXPECT_EQ(painted, plain);
}

TEST(ProgressBarTest, LinesForLogsHaveNoBar) {
  EXPECT_EQ(RenderProgressLine(Half()), "denoise 12/24, 0.84 s/step, 10 s, 9.9 s left");
  EXPECT_EQ(RenderProgressLine({.label = "queued, next", .elapsed = milliseconds(500)}),
            "queued, next, 0.5 s");
}

}  // namespace
}  // namespace tightfit::cli
