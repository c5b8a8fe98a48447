// deploy/tightfit.example.toml stays complete and true.
#include "server/config/config_file.h"
#include "server/config/config_models.h"
#include "server/config/config_settings.h"

#include <gtest/gtest.h>

namespace tightfit {
namespace {

class ExampleConfigTest : public testing::Test {
 protected:
  void SetUp() override {
    const Status status =
        ReadConfigFile(TIGHTFIT_SOURCE_DIR "/deploy/tightfit.example.toml", &config_, &origins_);
    ASSERT_TRUE(status.ok()) << status.message();
  }

  ServerConfig config_;
  ConfigOrigins origins_;
};

TEST_F(ExampleConfigTest, HoldsEverySetting) {
  for (const Setting& setting : Settings()) {
    EXPECT_TRUE(origins_.contains(std::string(setting.key))) << setting.key;
  }
  for (const std::string_view key : ModelKeys()) {
    EXPECT_TRUE(origins_.contains("model.sdxl." + std::string(key))) << key;
  }
}

TEST_F(ExampleConfigTest, ShowsTheDefaults) {
  const ServerConfig defaults;
  for (const Setting& setting : Settings()) {
    EXPECT_EQ(SettingText(setting, config_), SettingText(setting, defaults)) << setting.key;
  }
  ASSERT_EQ(config_.models.size(), 1u);
  const ModelSpec model;
  EXPECT_EQ(config_.models[0].format, model.format);
  EXPECT_EQ(config_.models[0].scope, model.scope);
  EXPECT_EQ(config_.models[0].compute_dtype, model.compute_dtype);
  EXPECT_EQ(config_.models[0].exclude, model.exclude);
}

}  // namespace
}  // namespace tightfit
