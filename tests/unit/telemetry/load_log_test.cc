#include "server/telemetry/load_log.h"

#include "tests/support/fake_clock.h"
#include "tests/unit/telemetry/captured_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace tightfit {
namespace {

using std::chrono::milliseconds;

ModelSnapshot Loading(const std::string& name, int64_t bytes_done) {
  ModelSnapshot model;
  model.spec.name = name;
  model.state = ModelState::kLoading;
  model.loading = LoadProgress{"unet", bytes_done, 100};
  return model;
}

class LoadLogTest : public testing::Test {
 protected:
  std::vector<nlohmann::json> Lines() const {
    std::vector<nlohmann::json> lines;
    for (const std::string& line : captured_.Lines()) lines.push_back(nlohmann::json::parse(line));
    return lines;
  }

  CapturedLog captured_{LogLevel::kDebug, LogFormat::kJson};
  FakeClock clock_;
  LoadLog log_{&clock_};
};

TEST_F(LoadLogTest, TellsProgressAtMostEveryTwoSeconds) {
  for (int i = 0; i <= 60; ++i) {  // six seconds
    log_.OnChange(Loading("sdxl", i));
    clock_.Advance(milliseconds(100));
  }
  const auto lines = Lines();
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0]["bytes_done"], 0);
  EXPECT_EQ(lines[1]["bytes_done"], 20);
  EXPECT_EQ(lines[3]["bytes_done"], 60);
  EXPECT_EQ(lines[0]["bytes_total"], 100);
  EXPECT_EQ(lines[0]["component"], "unet");
}

TEST_F(LoadLogTest, CountsTheIntervalOfEachModelAlone) {
  log_.OnChange(Loading("a", 0));
  log_.OnChange(Loading("b", 0));
  EXPECT_EQ(Lines().size(), 2u);
}

TEST_F(LoadLogTest, TellsTheBeginOfEveryLoad) {
  log_.OnChange(Loading("a", 0));
  ModelSnapshot unloaded;
  unloaded.spec.name = "a";
  log_.OnChange(unloaded);
  log_.OnChange(Loading("a", 0));
  EXPECT_EQ(Lines().size(), 3u) << "also within the interval";
}

TEST_F(LoadLogTest, NamesEachModuleThatStayedUnpacked) {
  auto description = std::make_shared<ModelDescription>();
  description->name = "sdxl";
  description->format = "hf8";
  ComponentDescription unet;
  unet.name = "unet";
  unet.weight_bytes = 10;
  unet.fp16_bytes = 20;
  unet.packed_module_count = 3;
  unet.unpacked_modules = {{"conv_in", "excluded"}, {"mid.0", "1.2 is above 0.75"}};
  description->components = {unet, unet};
  description->components[1].unpacked_modules.clear();
  ModelSnapshot model;
  model.spec.name = "sdxl";
  model.state = ModelState::kResident;
  model.description = description;
  log_.OnChange(model);
  const auto lines = Lines();
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0]["module"], "conv_in");
  EXPECT_EQ(lines[1]["module"], "mid.0");
  EXPECT_EQ(lines[1]["reason"], "1.2 is above 0.75");
  EXPECT_EQ(lines[2]["message"], "model resident");
  EXPECT_EQ(lines[2]["weight_bytes"], 20);
  EXPECT_EQ(lines[2]["fp16_bytes"], 40);
  EXPECT_EQ(lines[2]["packed_module_count"], 6);
  EXPECT_EQ(lines[2]["unpacked_module_count"], 2);
}

TEST_F(LoadLogTest, TellsWhyAModelFailed) {
  ModelSnapshot model;
  model.spec.name = "sdxl";
  model.state = ModelState::kFailed;
  model.failure = Status(StatusCode::kDataLoss, "CHECKSUM_MISMATCH", "unet.safetensors is damaged")
                      .WithDetail("/models/sdxl/unet.safetensors");
  log_.OnChange(model);
  const auto lines = Lines();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0]["level"], "error");
  EXPECT_EQ(lines[0]["reason"], "CHECKSUM_MISMATCH");
  EXPECT_EQ(lines[0]["error"], "unet.safetensors is damaged [/models/sdxl/unet.safetensors]");
}

}  // namespace
}  // namespace tightfit
