#include "server/engine/never_served.h"

#include "tests/support/fake_diffusion_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tightfit {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kMib = 1 << 20;

// 4 pixels per latent; 46 MiB in all.
ModelDescription Model() {
  ModelDescription model = FakeDescription("fake");
  model.memory = {.weights = {{"unet", "a", 30 * kMib}, {"vae", "b", 10 * kMib}},
                  .load_scratch_bytes = 5 * kMib,
                  .decode_scratch_bytes = kMib};
  return model;
}

Limits Sides(int32_t min_side_px, int32_t max_side_px) {
  Limits limits;
  limits.min_side_px = min_side_px;
  limits.max_side_px = max_side_px;
  return limits;
}

TEST(NeverServedTest, AModelThatIsLargerThanItsDeviceNamesBothSizes) {
  EXPECT_THAT(NeverServed(Model(), {}, 46 * kMib), IsEmpty());
  EXPECT_THAT(NeverServed(Model(), {}, 46 * kMib - 1),
              ElementsAre(AllOf(HasSubstr("needs 46 MiB"), HasSubstr("may use 46 MiB"),
                                HasSubstr("memory_limit_mib"))));
  EXPECT_THAT(NeverServed(Model(), {}, 5 * kMib), ElementsAre(HasSubstr("may use 5 MiB")));
  EXPECT_THAT(NeverServed(Model(), {}, std::nullopt), IsEmpty());
}

TEST(NeverServedTest, SomeSideMustBeAMultipleOfALatent) {
  // By brute force: a side that is legal for both is one that requests may have.
  for (int32_t low = 1; low <= 20; ++low) {
    for (int32_t high = low; high <= 20; ++high) {
      bool any = false;
      for (int32_t side = low; side <= high; ++side) any = any || side % 4 == 0;
      EXPECT_EQ(NeverServed(Model(), Sides(low, high), std::nullopt).empty(), any)
          << low << " to " << high;
    }
  }
  EXPECT_THAT(NeverServed(Model(), Sides(17, 17), std::nullopt),
              ElementsAre(AllOf(HasSubstr("17"), HasSubstr("multiple of 4"))));
}

TEST(NeverServedTest, TheSmallestImageFitsAreaAndSteps) {
  Limits limits = Sides(17, 64);
  limits.max_area_px = 399;
  EXPECT_THAT(NeverServed(Model(), limits, std::nullopt),
              ElementsAre(AllOf(HasSubstr("20 x 20"), HasSubstr("max_area_px"))));
  limits.max_area_px = 400;
  EXPECT_THAT(NeverServed(Model(), limits, std::nullopt), IsEmpty());
  limits.max_pixel_steps = 399;
  EXPECT_THAT(NeverServed(Model(), limits, std::nullopt),
              ElementsAre(HasSubstr("max_pixel_steps")));
}

}  // namespace
}  // namespace tightfit
