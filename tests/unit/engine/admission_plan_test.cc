// Who has to go for a model and a request. A plan is a function of its arguments: the arithmetic
// here is done by hand.
#include "server/engine/admission_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Time = std::chrono::steady_clock::time_point;

// A resident model with weights of its own.
ModelSnapshot Resident(const std::string& name, int64_t bytes, int used_at = 0) {
  ModelDescription description;
  description.memory.weights = {{.component = "unet", .content_key = "of " + name, .bytes = bytes}};
  ModelSnapshot model;
  model.spec.name = name;
  model.state = ModelState::kResident;
  model.description = std::make_shared<const ModelDescription>(std::move(description));
  model.last_used = Time(std::chrono::seconds(used_at));
  return model;
}

ModelSnapshot Unloaded(const std::string& name, int64_t bytes, int64_t scratch_bytes = 0) {
  ModelSnapshot model = Resident(name, bytes);
  ModelDescription description = *model.description;
  description.memory.load_scratch_bytes = scratch_bytes;
  model.description = std::make_shared<const ModelDescription>(std::move(description));
  model.state = ModelState::kUnloaded;
  return model;
}

ModelSnapshot Sharing(ModelSnapshot model, const std::string& content_key, int64_t bytes) {
  ModelDescription description = *model.description;
  description.memory.weights.push_back(
      {.component = "vae", .content_key = content_key, .bytes = bytes});
  model.description = std::make_shared<const ModelDescription>(std::move(description));
  return model;
}

ModelSnapshot Pinned(ModelSnapshot model) {
  model.policy.pinned = true;
  return model;
}

ModelSnapshot Running(ModelSnapshot model) {
  model.running_count = 1;
  return model;
}

ModelSnapshot FallenBack(ModelSnapshot model, int64_t bytes) {
  ModelDescription description = *model.description;
  description.memory.on_demand[OnDemand::kFp32Vae] = {.bytes = bytes, .is_held = true};
  model.description = std::make_shared<const ModelDescription>(std::move(description));
  return model;
}

TEST(AdmissionPlanTest, TakesWhatIsFreeAndEvictsNobody) {
  const AdmissionPlan plan = PlanAdmission({Unloaded("new", 60, 15), Resident("old", 20)}, "new", 5,
                                           {.limit_bytes = 100, .free_bytes = 75});
  EXPECT_EQ(plan.admission, Admission::kNow);
  EXPECT_TRUE(plan.needs_load);
  EXPECT_EQ(plan.weight_bytes, 60);
  EXPECT_EQ(plan.load_scratch_bytes, 10);
  EXPECT_EQ(plan.needed_bytes(), 75);
  EXPECT_EQ(plan.evictable_bytes, 20);
  EXPECT_THAT(plan.evictions, IsEmpty());
}

TEST(AdmissionPlanTest, EvictsForOneByteMore) {
  const AdmissionPlan plan = PlanAdmission({Unloaded("new", 60, 10), Resident("old", 20)}, "new",
                                           16, {.limit_bytes = 100, .free_bytes = 75});
  EXPECT_EQ(plan.admission, Admission::kNow);
  EXPECT_THAT(plan.evictions, ElementsAre("old"));
}

TEST(AdmissionPlanTest, ALoadTakesWhatIsSetAsideForTheRequestThatFollowsIt) {
  const auto admission = [](int64_t load_bytes, int64_t request_bytes) {
    return PlanAdmission({Unloaded("new", 60, load_bytes)}, "new", request_bytes,
                         {.limit_bytes = 100, .free_bytes = 100})
        .admission;
  };
  EXPECT_EQ(admission(40, 40), Admission::kNow);
  EXPECT_EQ(admission(41, 0), Admission::kNever);
  EXPECT_EQ(admission(0, 41), Admission::kNever);
  const AdmissionPlan never =
      PlanAdmission({Unloaded("new", 60, 50)}, "new", 20, {.limit_bytes = 100, .free_bytes = 100});
  EXPECT_FALSE(never.model_fits);
  EXPECT_THAT(RefusalOf(never, 100).metadata(),
              ::testing::Contains(::testing::Key("needed_bytes")));
}

TEST(AdmissionPlanTest, EvictsWhatWasUsedLongestAgoAndOnlyWhatIsNeeded) {
  const std::vector<ModelSnapshot> models = {Unloaded("new", 40), Resident("late", 30, 9),
                                             Resident("early", 30, 1), Resident("middle", 30, 5)};
  const DeviceBudget device{.limit_bytes = 100, .free_bytes = 10};
  EXPECT_THAT(PlanAdmission(models, "new", 0, device).evictions, ElementsAre("early"));
  EXPECT_THAT(PlanAdmission(models, "new", 1, device).evictions, ElementsAre("early", "middle"));
}

TEST(AdmissionPlanTest, LeavesWhatIsPinnedOrInUse) {
  const DeviceBudget device{.limit_bytes = 100, .free_bytes = 0};
  const AdmissionPlan waits =
      PlanAdmission({Unloaded("new", 40), Running(Resident("busy", 100))}, "new", 0, device);
  EXPECT_EQ(waits.admission, Admission::kLater);
  EXPECT_EQ(waits.evictable_bytes, 0);
  const AdmissionPlan never =
      PlanAdmission({Unloaded("new", 40), Pinned(Resident("pinned", 100))}, "new", 0, device);
  EXPECT_EQ(never.admission, Admission::kNever);
  EXPECT_EQ(never.weight_bytes, 40);
}

TEST(AdmissionPlanTest, CountsAContentOnceHoweverManyModelsHoldIt) {
  const std::vector<ModelSnapshot> models = {Sharing(Unloaded("new", 40), "shared", 30),
                                             Sharing(Resident("old", 10), "shared", 30)};
  const AdmissionPlan shares =
      PlanAdmission(models, "new", 0, {.limit_bytes = 80, .free_bytes = 40});
  EXPECT_EQ(shares.admission, Admission::kNow);
  EXPECT_EQ(shares.weight_bytes, 40);
  EXPECT_THAT(shares.evictions, IsEmpty());
  // The last holder leaves with the content: what gets free must be loaded again.
  const AdmissionPlan alone =
      PlanAdmission(models, "new", 10, {.limit_bytes = 80, .free_bytes = 40});
  EXPECT_THAT(alone.evictions, ElementsAre("old"));
  EXPECT_EQ(alone.weight_bytes, 70);
}

TEST(AdmissionPlanTest, CountsTheBufferThatAllShareForGood) {
  ModelSnapshot model = Unloaded("new", 40);
  ModelDescription description = *model.description;
  description.memory.decode_scratch_bytes = 30;
  model.description = std::make_shared<const ModelDescription>(std::move(description));
  const auto room = [&](int64_t there) {
    return PlanAdmission(
        {model}, "new", 0,
        {.limit_bytes = 70, .free_bytes = 70 - there, .decode_scratch_bytes = there});
  };
  EXPECT_EQ(room(0).admission, Admission::kNow);
  EXPECT_EQ(room(0).load_scratch_bytes, 30);
  EXPECT_EQ(room(20).load_scratch_bytes, 10);
  EXPECT_EQ(room(30).load_scratch_bytes, 0);
  EXPECT_EQ(room(31).admission, Admission::kNever);
}

TEST(AdmissionPlanTest, CountsTheFallbackOfAModelThatHoldsOne) {
  const std::vector<ModelSnapshot> models = {Unloaded("new", 40),
                                             FallenBack(Resident("old", 40), 20)};
  const AdmissionPlan plan = PlanAdmission(models, "new", 0, {.limit_bytes = 60, .free_bytes = 0});
  EXPECT_EQ(plan.evictable_bytes, 60);
  EXPECT_THAT(plan.evictions, ElementsAre("old"));
  EXPECT_EQ(PlanAdmission({Unloaded("new", 40), Pinned(FallenBack(Resident("old", 40), 20))}, "new",
                          0, {.limit_bytes = 99, .free_bytes = 39})
                .admission,
            Admission::kNever);
}

TEST(AdmissionPlanTest, ARequestOnAResidentModelNeedsItsOwnBytesAlone) {
  const AdmissionPlan plan = PlanAdmission({Resident("here", 60), Resident("old", 20)}, "here", 30,
                                           {.limit_bytes = 100, .free_bytes = 20});
  EXPECT_FALSE(plan.needs_load);
  EXPECT_EQ(plan.needed_bytes(), 30);
  EXPECT_THAT(plan.evictions, ElementsAre("old"));
}

// 50 of 70 bytes are set aside for what is being loaded, 20 are not.
TEST(AdmissionPlanTest, PlansTheGrowthOfAModelThatCameOutLarger) {
  ModelSnapshot loading = Unloaded("new", 50);
  loading.state = ModelState::kLoading;
  const std::vector<WeightGroup> held = {
      {.component = "unet", .content_key = "of new", .bytes = 50}};
  const AdmissionPlan evicts = PlanGrowth({loading, Resident("old", 40)}, "new", held, 20,
                                          {.limit_bytes = 100, .free_bytes = 10});
  EXPECT_EQ(evicts.admission, Admission::kNow);
  EXPECT_THAT(evicts.evictions, ElementsAre("old"));
  const AdmissionPlan waits = PlanGrowth({loading, Running(Resident("old", 40))}, "new", held, 20,
                                         {.limit_bytes = 100, .free_bytes = 10});
  EXPECT_EQ(waits.admission, Admission::kLater);
  const AdmissionPlan never = PlanGrowth({loading, Resident("old", 10)}, "new", held, 20,
                                         {.limit_bytes = 69, .free_bytes = 9});
  EXPECT_EQ(never.admission, Admission::kNever);
  EXPECT_EQ(never.needed_bytes(), 70);
  const Status refusal = RefusalOf(never, 69);
  EXPECT_EQ(refusal.code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(refusal.metadata().at("needed_bytes"), "70");
  EXPECT_EQ(refusal.metadata().at("total_bytes"), "69");
}

TEST(AdmissionPlanTest, TheHintOfARefusalIsForWhatIsTooLarge) {
  const auto message = [](const std::vector<ModelSnapshot>& models, int64_t request_bytes) {
    const AdmissionPlan plan = PlanAdmission(models, "a", request_bytes, {100, 100, 0});
    EXPECT_EQ(plan.admission, Admission::kNever);
    return RefusalOf(plan, 100).message();
  };
  using ::testing::AllOf;
  using ::testing::HasSubstr;
  using ::testing::Not;
  const auto of_request = AllOf(HasSubstr("the request needs"), HasSubstr("smaller image"));
  const auto of_model =
      AllOf(HasSubstr("the model needs"), HasSubstr("memory_limit_mib"), Not(HasSubstr("image")));
  EXPECT_THAT(message({Unloaded("a", 90, 5)}, 11), of_request);
  EXPECT_THAT(message({Resident("a", 90)}, 11), of_request);
  EXPECT_THAT(message({Unloaded("a", 101)}, 0), of_model) << "a preload";
  EXPECT_THAT(message({Unloaded("a", 96, 5)}, 1), of_model) << "no request is small enough";
  EXPECT_THAT(message({Unloaded("a", 60), Pinned(Resident("b", 41))}, 0), of_model);
  EXPECT_THAT(message({Unloaded("a", 60), Pinned(Resident("b", 40))}, 1), of_request);
  const AdmissionPlan grown =
      PlanGrowth({Resident("a", 90)}, "a", {{"unet", "of a", 90}}, 20, {100, 10, 0});
  EXPECT_THAT(RefusalOf(grown, 100).message(), of_model) << "larger than its estimate";
}

}  // namespace
}  // namespace tightfit
