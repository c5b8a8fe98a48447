#include "server/config/config_settings.h"

#include <gtest/gtest.h>

#include <set>

namespace tightfit {
namespace {

const Setting& Find(std::string_view key) {
  for (const Setting& setting : Settings()) {
    if (setting.key == key) return setting;
  }
  std::abort();
}

TEST(ConfigSettingsTest, GivesEverySettingItsOwnFlag) {
  std::set<std::string> flags = {"--config", "--model", "--check", "--version", "--help"};
  for (const Setting& setting : Settings()) {
    EXPECT_TRUE(flags.insert(setting.flag()).second) << setting.flag();
  }
}

TEST(ConfigSettingsTest, HasDefaultsInsideTheirRanges) {
  const ServerConfig defaults;
  for (const Setting& setting : Settings()) {
    ServerConfig config;
    const Status status = SetSettingFromText(setting, SettingText(setting, defaults), &config);
    EXPECT_TRUE(status.ok()) << setting.key << ": " << status.message();
  }
}

TEST(ConfigSettingsTest, TakesBothEndsOfARangeAndNothingBeyond) {
  for (const Setting& setting : Settings()) {
    if (setting.is_text() || setting.is_switch()) continue;
    const auto set = [&](double value) {
      ServerConfig config;
      return SetSetting(setting, static_cast<int64_t>(value), &config).ok();
    };
    EXPECT_TRUE(set(setting.min)) << setting.key;
    EXPECT_TRUE(set(setting.max)) << setting.key;
    EXPECT_FALSE(set(setting.min - 1)) << setting.key;
    EXPECT_FALSE(set(setting.max + 1)) << setting.key;
  }
}

TEST(ConfigSettingsTest, SetsTheFieldThatItNames) {
  ServerConfig config;
  ASSERT_TRUE(SetSettingFromText(Find("listen"), "[::1]:7", &config).ok());
  ASSERT_TRUE(SetSettingFromText(Find("threads"), "3", &config).ok());
  ASSERT_TRUE(SetSettingFromText(Find("drain_timeout_seconds"), "0.25", &config).ok());
  ASSERT_TRUE(SetSettingFromText(Find("limits.max_area_px"), "65536", &config).ok());
  ASSERT_TRUE(SetSettingFromText(Find("limits.max_guidance_scale"), "7.5", &config).ok());
  ASSERT_TRUE(SetSettingFromText(Find("limits.max_queued_requests"), "5", &config).ok());
  EXPECT_EQ(config.listen, "[::1]:7");
  EXPECT_EQ(config.threads, 3);
  EXPECT_EQ(config.drain_timeout, std::chrono::milliseconds(250));
  EXPECT_EQ(config.limits.max_area_px, 65536);
  EXPECT_EQ(config.limits.max_guidance_scale, 7.5f);
  EXPECT_EQ(config.limits.max_queued_requests, 5);
}

TEST(ConfigSettingsTest, TakesTrueAndFalseForASwitchAndNothingElse) {
  ServerConfig config;
  ASSERT_TRUE(SetSettingFromText(Find("allow_plaintext"), "true", &config).ok());
  EXPECT_TRUE(config.allow_plaintext);
  ASSERT_TRUE(SetSettingFromText(Find("allow_plaintext"), "false", &config).ok());
  EXPECT_FALSE(config.allow_plaintext);
  for (const char* text : {"", "1", "yes", "TRUE", "truex"}) {
    EXPECT_EQ(SetSettingFromText(Find("allow_plaintext"), text, &config).message(),
              "must be true or false, not \"" + std::string(text) + "\"");
  }
  EXPECT_FALSE(SetSetting(Find("allow_plaintext"), int64_t{1}, &config).ok());
}

TEST(ConfigSettingsTest, RefusesTextThatIsNoNumber) {
  ServerConfig config;
  for (const char* text : {"", "x", "1x", "1.5", " 1", "0x10", "1e3", "nan"}) {
    EXPECT_FALSE(SetSettingFromText(Find("threads"), text, &config).ok()) << text;
  }
  for (const char* text : {"", "x", "1s", "nan", "inf", "-1", "1e9"}) {
    EXPECT_FALSE(SetSettingFromText(Find("drain_timeout_seconds"), text, &config).ok()) << text;
  }
}

TEST(ConfigSettingsTest, EveryNumericSettingRefusesWhatIsNoPlainNumber) {
  for (const Setting& setting : Settings()) {
    if (setting.is_text() || setting.is_switch()) continue;
    for (const char* text :
         {"nan", "inf", "-inf", "infinity", "1e400", "0x1p3", "0x10", "-0", "+1"}) {
      ServerConfig config;
      const Status status = SetSettingFromText(setting, text, &config);
      EXPECT_FALSE(status.ok()) << setting.key << " " << text;
      EXPECT_EQ(SettingText(setting, config), SettingText(setting, ServerConfig())) << setting.key;
    }
  }
}

}  // namespace
}  // namespace tightfit
