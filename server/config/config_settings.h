// The table of settings: one row gives a setting its key in tightfit.toml, its flag, its range, its
// words in --help and the field of ServerConfig that it sets. Models are not in it
// (config_models.h).
#ifndef TIGHTFIT_SERVER_CONFIG_CONFIG_SETTINGS_H_
#define TIGHTFIT_SERVER_CONFIG_CONFIG_SETTINGS_H_

#include "server/config/config.h"

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace tightfit {

using SettingField =
    std::variant<std::string ServerConfig::*, int32_t ServerConfig::*, bool ServerConfig::*,
                 std::chrono::milliseconds ServerConfig::*,  // given in seconds
                 int32_t Limits::*, int64_t Limits::*, float Limits::*>;

struct Setting {
  std::string_view key;         // "listen", "limits.max_side_px"
  std::string_view value_name;  // in --help: "HOST:PORT"
  std::string_view help;
  SettingField field;
  double min = 0;  // of numbers, inclusive
  double max = 0;
  std::vector<std::string_view> choices;  // of strings; empty: any
  bool is_input_file = false;  // a relative path in a file counts from that file's directory

  bool is_text() const;
  bool is_switch() const;
  bool is_fraction() const;  // takes 0.5
  // "max_side_px": the key inside its table.
  std::string_view leaf() const;
  // "--max-side-px"
  std::string flag() const;
};

const std::vector<Setting>& Settings();

using SettingValue = std::variant<std::string, int64_t, double, bool>;

// Sets the field. The message of a failure is what is wrong with the value alone: `must be from 0
// to 1024, not 2000`.
Status SetSetting(const Setting& setting, const SettingValue& value, ServerConfig* config);
// The same from a flag's text.
Status SetSettingFromText(const Setting& setting, const std::string& text, ServerConfig* config);

// The value that `config` has, as one would write it.
std::string SettingText(const Setting& setting, const ServerConfig& config);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_CONFIG_CONFIG_SETTINGS_H_
