#include "server/config/config_file.h"

#include "server/base/closest_name.h"
#include "server/config/config_models.h"
#include "server/config/config_settings.h"

#include <toml++/toml.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <limits>
#include <memory>

namespace tightfit {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;

std::string_view TypeWords(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "an array";
    case toml::node_type::string:
      return "a string";
    case toml::node_type::integer:
      return "a whole number";
    case toml::node_type::floating_point:
      return "a fraction";
    case toml::node_type::boolean:
      return "true or false";
    default:
      return "a date or time";
  }
}

// Reads one parsed file; keeps the path for messages.
class FileReader {
 public:
  FileReader(const std::string& path, ServerConfig* config, ConfigOrigins* origins)
      : path_(path), config_(config), origins_(origins) {}

  Status Read(const toml::table& root) {
    for (const auto& [key, node] : root) {
      const std::string_view name = key.str();
      if (name == "limits") {
        TF_RETURN_IF_ERROR(ReadLimits(node));
      } else if (name == "model") {
        TF_RETURN_IF_ERROR(ReadModels(node));
      } else {
        TF_RETURN_IF_ERROR(ReadSetting("", key, node, "at the top of the file"));
      }
    }
    return OkStatus();
  }

 private:
  // A path that counts from this file's directory; an absolute one stays.
  std::string FromFileDirectory(const std::string& path) const {
    return (std::filesystem::path(path_).parent_path() / path).string();
  }

  std::string At(const toml::source_region& source) const {
    return path_ + ":" + std::to_string(source.begin.line) + ": ";
  }

  Status UnknownKey(const toml::key& key, const std::string& where,
                    const std::vector<std::string_view>& known) const {
    return BadConfiguration(At(key.source()) + "unknown key \"" + std::string(key.str()) + "\" " +
                            where + DidYouMean(key.str(), known));
  }

  Status WrongType(const toml::node& node, const std::string& what, std::string_view expected) {
    return BadConfiguration(At(node.source()) + what + ": must be " + std::string(expected) +
                            ", not " + std::string(TypeWords(node)));
  }

  Status ReadSetting(const std::string& prefix, const toml::key& key, const toml::node& node,
                     const std::string& where) {
    const std::string full_key = prefix + std::string(key.str());
    std::vector<std::string_view> known;
    if (prefix.empty()) known = {"limits", "model"};
    for (const Setting& setting : Settings()) {
      if (setting.key == full_key) return SetFromNode(setting, node);
      if (setting.key.starts_with(prefix) &&
          setting.key.find('.', prefix.size()) == std::string_view::npos) {
        known.push_back(setting.key.substr(prefix.size()));
      }
    }
    return UnknownKey(key, where, known);
  }

  Status SetFromNode(const Setting& setting, const toml::node& node) {
    const std::string key(setting.leaf());
    SettingValue value;
    if (setting.is_text() && node.is_string()) {
      std::string text = node.as_string()->get();
      if (setting.is_input_file && !text.empty()) text = FromFileDirectory(text);
      value = std::move(text);
    } else if (setting.is_switch() && node.is_boolean()) {
      value = node.as_boolean()->get();
    } else if (!setting.is_text() && !setting.is_switch() && node.is_integer()) {
      value = node.as_integer()->get();
    } else if (setting.is_fraction() && node.is_floating_point()) {
      value = node.as_floating_point()->get();
    } else {
      return WrongType(node, key,
                       setting.is_text()       ? "a string"
                       : setting.is_switch()   ? "true or false"
                       : setting.is_fraction() ? "a number"
                                               : "a whole number");
    }
    const std::string origin = At(node.source()) + key;
    if (const Status status = SetSetting(setting, value, config_); !status.ok()) {
      return BadConfiguration(origin + ": " + status.message());
    }
    (*origins_)[std::string(setting.key)] = origin;
    return OkStatus();
  }

  Status ReadLimits(const toml::node& node) {
    if (!node.is_table()) return WrongType(node, "limits", "a table, [limits]");
    for (const auto& [key, value] : *node.as_table()) {
      TF_RETURN_IF_ERROR(ReadSetting("limits.", key, value, "in [limits]"));
    }
    return OkStatus();
  }

  Status ReadModels(const toml::node& node) {
    if (!node.is_array()) return WrongType(node, "model", "tables, each begun by [[model]]");
    for (const toml::node& element : *node.as_array()) {
      if (!element.is_table()) {
        return WrongType(element, "model", "tables, each begun by [[model]]");
      }
      TF_RETURN_IF_ERROR(ReadModel(*element.as_table()));
    }
    return OkStatus();
  }

  Status ReadModel(const toml::table& table) {
    ModelSpec spec;
    const toml::node* const name = table.get("name");
    if (name == nullptr) {
      return BadConfiguration(At(table.source()) + "[[model]] has no name");
    }
    if (!name->is_string()) return WrongType(*name, "name", "a string");
    spec.name = name->as_string()->get();
    const std::string label = "[[model]] \"" + spec.name + "\"";
    const std::string origin_key = "model." + spec.name;
    if (origins_->contains(origin_key)) {
      return BadConfiguration(At(name->source()) + "two models are named \"" + spec.name + "\"");
    }
    (*origins_)[origin_key] = At(name->source()) + label;
    for (const auto& [key, node] : table) {
      const std::string key_text(key.str());
      if (std::string* field = ModelText(key_text, &spec)) {
        if (!node.is_string()) return WrongType(node, key_text + " of " + label, "a string");
        *field = node.as_string()->get();
      } else if (int32_t* number = ModelNumber(key_text, &spec)) {
        if (!node.is_integer()) {
          return WrongType(node, key_text + " of " + label, "a whole number");
        }
        *number = static_cast<int32_t>(std::clamp<int64_t>(node.as_integer()->get(),
                                                           std::numeric_limits<int32_t>::min(),
                                                           std::numeric_limits<int32_t>::max()));
      } else if (double* fraction = ModelFraction(key_text, &spec)) {
        if (!node.is_number()) return WrongType(node, key_text + " of " + label, "a number");
        *fraction = *node.value<double>();
      } else if (bool* turned_on = ModelSwitch(key_text, &spec)) {
        if (!node.is_boolean()) return WrongType(node, key_text + " of " + label, "true or false");
        *turned_on = node.as_boolean()->get();
      } else if (key_text == "exclude") {
        TF_RETURN_IF_ERROR(ReadExclude(node, label, &spec.exclude));
      } else {
        return UnknownKey(key, "in " + label, ModelKeys());
      }
      (*origins_)[origin_key + "." + key_text] = At(node.source()) + key_text + " of " + label;
    }
    if (spec.path.empty()) return BadConfiguration(At(table.source()) + label + " has no path");
    spec.path = FromFileDirectory(spec.path);
    if (!spec.vae.empty()) spec.vae = FromFileDirectory(spec.vae);
    config_->models.push_back(std::move(spec));
    return OkStatus();
  }

  Status ReadExclude(const toml::node& node, const std::string& label,
                     std::vector<std::string>* exclude) {
    if (!node.is_array()) return WrongType(node, "exclude of " + label, "an array of strings");
    for (const toml::node& name : *node.as_array()) {
      if (!name.is_string()) return WrongType(name, "exclude of " + label, "an array of strings");
      exclude->push_back(name.as_string()->get());
    }
    return OkStatus();
  }

  const std::string path_;
  ServerConfig* const config_;
  ConfigOrigins* const origins_;
};

}  // namespace

Status ParseConfigText(std::string_view text, const std::string& path, ServerConfig* config,
                       ConfigOrigins* origins) {
  toml::table root;
  try {
    root = toml::parse(text, path);
  } catch (const toml::parse_error& error) {
    return BadConfiguration(path + ":" + std::to_string(error.source().begin.line) + ": " +
                            std::string(error.description()));
  }
  return FileReader(path, config, origins).Read(root);
}

Status ReadConfigFile(const std::string& path, ServerConfig* config, ConfigOrigins* origins) {
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "rb"), &std::fclose);
  if (file == nullptr) return BadConfiguration(path + ": " + std::strerror(errno));
  std::string text(kMaxFileBytes + 1, '\0');
  errno = 0;
  text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  if (std::ferror(file.get()) != 0) return BadConfiguration(path + ": " + std::strerror(errno));
  if (text.size() > kMaxFileBytes) return BadConfiguration(path + ": is larger than 1 MiB");
  return ParseConfigText(text, path, config, origins);
}

}  // namespace tightfit
