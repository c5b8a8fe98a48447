#include "server/engine/model_memory.h"

#include "tests/support/fake_diffusion_model.h"

#include <gtest/gtest.h>

namespace tightfit {
namespace {

// Models that hold "memory test NAME" alone and "memory test base" together.
ModelSnapshot Model(const std::string& name, ModelState state) {
  ModelDescription description = FakeDescription(name);
  description.memory.weights = {
      {.component = "unet", .content_key = "memory test " + name, .bytes = 0},
      {.component = "vae", .content_key = "memory test base", .bytes = 0}};
  ModelSnapshot model;
  model.spec.name = name;
  model.state = state;
  model.description = std::make_shared<const ModelDescription>(std::move(description));
  return model;
}

int64_t BytesOf(const std::vector<ComponentMemory>& uses, const std::string& component) {
  for (const ComponentMemory& use : uses) {
    if (use.component == component && use.purpose == MemoryPurpose::kWeights) {
      return use.current_bytes;
    }
  }
  return -1;
}

TEST(ModelMemoryTest, SharesOfAllModelsAddUpToWhatIsHeld) {
  MemoryAccounts& accounts = MemoryAccounts::Instance();
  accounts.Get("memory test one", "unet", MemoryPurpose::kWeights)->Charge(1000);
  accounts.Get("memory test base", "vae", MemoryPurpose::kWeights)->Charge(101);
  const std::vector<ModelSnapshot> models = {Model("one", ModelState::kResident),
                                             Model("two", ModelState::kResident),
                                             Model("three", ModelState::kUnloaded)};
  EXPECT_EQ(HolderCount("memory test base", models), 2);
  EXPECT_EQ(HolderCount("memory test one", models), 1);
  EXPECT_EQ(BytesOf(MemoryOf(models[0], models), "unet"), 1000);
  EXPECT_EQ(BytesOf(MemoryOf(models[0], models), "vae"), 51);
  EXPECT_EQ(BytesOf(MemoryOf(models[1], models), "vae"), 50);
  EXPECT_EQ(BytesOf(MemoryOf(models[2], models), "vae"), -1) << "it holds nothing";
}

TEST(ModelMemoryTest, CountsWhatIsTheModelsOwnBeside) {
  MemoryAccounts::Instance().Get("four", "vae", MemoryPurpose::kActivations)->Charge(7);
  const std::vector<ModelSnapshot> models = {Model("four", ModelState::kResident)};
  bool found = false;
  for (const ComponentMemory& use : MemoryOf(models[0], models)) {
    if (use.component != "vae" || use.purpose != MemoryPurpose::kActivations) continue;
    found = true;
    EXPECT_EQ(use.current_bytes, 7);
  }
  EXPECT_TRUE(found);
}

}  // namespace
}  // namespace tightfit
