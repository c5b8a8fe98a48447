#include "server/engine/model_registry.h"

#include "tests/support/fake_diffusion_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tightfit {
namespace {

using ::testing::ElementsAre;

std::vector<ModelSpec> Specs(std::vector<std::string> names) {
  std::vector<ModelSpec> specs;
  for (std::string& name : names) specs.emplace_back().name = std::move(name);
  return specs;
}

std::unique_ptr<DiffusionModel> Model(const std::string& name) {
  return MakeFakeModel(name, std::make_shared<FakeModelControls>());
}

TEST(ModelRegistryTest, KeepsTheOrderOfTheConfiguration) {
  const ModelRegistry registry(Specs({"b", "a", "c"}));
  std::vector<std::string> names;
  for (const ModelSnapshot& snapshot : registry.List()) {
    names.push_back(snapshot.spec.name);
    EXPECT_EQ(snapshot.state, ModelState::kUnloaded);
  }
  EXPECT_THAT(names, ElementsAre("b", "a", "c"));
}

TEST(ModelRegistryTest, FindsNothingUnderAnUnknownName) {
  const ModelRegistry registry(Specs({"a"}));
  EXPECT_FALSE(registry.Find("b").has_value());
  EXPECT_EQ(registry.Resident("b"), nullptr);
}

TEST(ModelRegistryTest, GivesTheModelOnlyWhileResident) {
  ModelRegistry registry(Specs({"a"}));
  EXPECT_EQ(registry.Resident("a"), nullptr);
  registry.SetLoading("a", {"unet", 1, 2});
  EXPECT_EQ(registry.Resident("a"), nullptr);
  EXPECT_EQ(registry.Find("a")->loading->bytes_done, 1);
  registry.SetResident("a", Model("a"));
  ASSERT_NE(registry.Resident("a"), nullptr);
  EXPECT_EQ(registry.Find("a")->description->hash, "0123456789");
  EXPECT_FALSE(registry.Find("a")->loading.has_value());
  registry.SetUnloaded("a");
  EXPECT_EQ(registry.Resident("a"), nullptr);
  EXPECT_NE(registry.Find("a")->description, nullptr) << "what is known of it stays known";
}

TEST(ModelRegistryTest, TellsWhyAModelFailed) {
  ModelRegistry registry(Specs({"a", "b"}));
  registry.SetResident("b", Model("b"));
  registry.SetFailed("a", Status(StatusCode::kDataLoss, "CHECKSUM_MISMATCH", "wrong bytes"));
  EXPECT_EQ(registry.Find("a")->state, ModelState::kFailed);
  EXPECT_EQ(registry.Find("a")->failure.reason(), "CHECKSUM_MISMATCH");
  EXPECT_EQ(registry.Resident("a"), nullptr);
  EXPECT_NE(registry.Resident("b"), nullptr);
}

TEST(ModelRegistryTest, KeepsADescriptionAliveForThoseWhoReadIt) {
  ModelRegistry registry(Specs({"a"}));
  registry.SetResident("a", Model("a"));
  const std::shared_ptr<const ModelDescription> description = registry.Find("a")->description;
  registry.SetUnloaded("a");
  EXPECT_EQ(description->name, "a");
}

TEST(ModelRegistryTest, CallsListenersOncePerStateOutsideTheLock) {
  ModelRegistry registry(Specs({"a"}));
  std::vector<std::string> states;
  registry.OnChange([&](const ModelSnapshot& snapshot) {
    // A listener may read the registry: a lock held here would hang the test.
    EXPECT_EQ(registry.Find("a")->state, snapshot.state);
    states.emplace_back(ModelStateName(snapshot.state));
  });
  registry.SetLoading("a", {"unet", 0, 10});
  registry.SetLoading("a", {"unet", 5, 10});
  registry.SetResident("a", Model("a"));
  registry.SetUnloaded("a");
  registry.SetFailed("a", Internal("no"));
  EXPECT_THAT(states, ElementsAre("loading", "resident", "unloaded", "failed"));
}

}  // namespace
}  // namespace tightfit
