#include "server/model/checked_json.h"

#include "server/base/json_text.h"
#include "server/model/model_errors.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <utility>

namespace tightfit {
namespace {

using Json = nlohmann::json;

}  // namespace

Result<Json> ParseJsonObject(std::string_view text, std::string_view file) {
  // Depth is bounded before parsing: destroying a deeply nested document would recurse as deep.
  constexpr int kMaxDepth = 32;
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  std::string repeated_key;
  const Json::parser_callback_t check = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > kMaxDepth) return false;
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(value).second) {
      repeated_key = value;
    }
    return true;
  };
  Json json = HoldsNul(text) ? Json() : Json::parse(text, check, /*allow_exceptions=*/false);
  if (json.is_discarded() || !json.is_object()) return BadModelDirectory(file, "not a JSON object");
  if (!repeated_key.empty()) return BadModelDirectory(file, Shown(repeated_key) + " comes twice");
  return json;
}

void CheckedJson::Refuse(const std::string& key, const std::string& what) const {
  if (problem_->ok()) *problem_ = BadModelDirectory(file_, PathOf(key) + " " + what);
}

CheckedJson CheckedJson::Object(const std::string& key) const {
  static const Json empty = Json::object();
  const Json* value = Find(key);
  if (value == nullptr || !value->is_object()) {
    Refuse(key, "must be an object");
    value = &empty;
  }
  return {*value, file_, PathOf(key), problem_};
}

std::string CheckedJson::Text(const std::string& key, size_t max_bytes) const {
  const Json* value = Find(key);
  if (value == nullptr || !value->is_string()) {
    Refuse(key, "must be a text");
    return {};
  }
  if (value->get_ref<const std::string&>().size() > max_bytes) {
    Refuse(key, "is longer than " + std::to_string(max_bytes) + " bytes");
    return {};
  }
  return value->get<std::string>();
}

std::vector<std::string> CheckedJson::Texts(const std::string& key, size_t max_count) const {
  constexpr size_t kMaxTextBytes = 512;
  if (Absent(key)) return {};
  const Json& value = *Find(key);
  const auto is_text = [](const Json& item) {
    return item.is_string() && item.get_ref<const std::string&>().size() <= kMaxTextBytes;
  };
  if (!value.is_array() || value.size() > max_count || !std::ranges::all_of(value, is_text)) {
    Refuse(key, "must be a list of at most " + std::to_string(max_count) + " texts");
    return {};
  }
  return value.get<std::vector<std::string>>();
}

std::vector<std::optional<double>> CheckedJson::NumbersOrNulls(const std::string& key, size_t count,
                                                               double low, double high) const {
  const Json* value = Find(key);
  const auto fits = [low, high](const Json& item) {
    return item.is_null() ||
           (item.is_number() && item.get<double>() >= low && item.get<double>() <= high);
  };
  std::vector<std::optional<double>> numbers(count);
  if (value == nullptr || !value->is_array() || value->size() != count ||
      !std::ranges::all_of(*value, fits)) {
    Refuse(key, "must be " + std::to_string(count) + " numbers from " + std::to_string(low) +
                    " to " + std::to_string(high) + ", or nulls");
    return numbers;
  }
  for (size_t i = 0; i < count; ++i) {
    if (!(*value)[i].is_null()) numbers[i] = (*value)[i].get<double>();
  }
  return numbers;
}

std::vector<CheckedJson> CheckedJson::Objects(const std::string& key, size_t max_count) const {
  if (Absent(key)) return {};
  const Json& value = *Find(key);
  const auto is_object = [](const Json& item) { return item.is_object(); };
  if (!value.is_array() || value.size() > max_count || !std::ranges::all_of(value, is_object)) {
    Refuse(key, "must be a list of at most " + std::to_string(max_count) + " objects");
    return {};
  }
  std::vector<CheckedJson> objects;
  for (size_t i = 0; i < value.size(); ++i) {
    objects.push_back({value[i], file_, PathOf(key) + "[" + std::to_string(i) + "]", problem_});
  }
  return objects;
}

int64_t CheckedJson::Integer(const std::string& key, int64_t low, int64_t high) const {
  const Json* value = Find(key);
  const bool fits = value != nullptr && value->is_number_integer() &&
                    !(value->is_number_unsigned() &&
                      value->get<uint64_t>() > std::numeric_limits<int64_t>::max()) &&
                    value->get<int64_t>() >= low && value->get<int64_t>() <= high;
  if (!fits) {
    Refuse(key, "must be an integer from " + std::to_string(low) + " to " + std::to_string(high));
    return low;
  }
  return value->get<int64_t>();
}

double CheckedJson::Number(const std::string& key, double low, double high) const {
  const Json* value = Find(key);
  if (value == nullptr || !value->is_number() || !std::isfinite(value->get<double>()) ||
      value->get<double>() <= low || value->get<double>() > high) {
    Refuse(key,
           "must be a number above " + std::to_string(low) + ", at most " + std::to_string(high));
    return high;
  }
  return value->get<double>();
}

bool CheckedJson::Boolean(const std::string& key) const {
  const Json* value = Find(key);
  if (value == nullptr || !value->is_boolean()) {
    Refuse(key, "must be true or false");
    return false;
  }
  return value->get<bool>();
}

bool CheckedJson::Absent(const std::string& key) const {
  const Json* value = Find(key);
  return value == nullptr || value->is_null();
}

std::vector<std::string> CheckedJson::Keys() const {
  std::vector<std::string> keys;
  for (const auto& item : json_.items()) keys.push_back(item.key());
  return keys;
}

const Json* CheckedJson::Find(const std::string& key) const {
  const auto found = json_.find(key);
  return found == json_.end() ? nullptr : &*found;
}

std::string CheckedJson::PathOf(const std::string& key) const {
  return path_.empty() ? Shown(key) : path_ + "." + Shown(key);
}

}  // namespace tightfit
