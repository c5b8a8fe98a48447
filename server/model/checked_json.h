// CheckedJson: values of a JSON document from outside, each with the bounds that it must keep.
#ifndef TIGHTFIT_SERVER_MODEL_CHECKED_JSON_H_
#define TIGHTFIT_SERVER_MODEL_CHECKED_JSON_H_

#include "server/base/status.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tightfit {

// `text` as an object at most 32 deep, without NUL characters. Errors: BadModelDirectory with
// `file` if it is anything else, or holds a key twice, of which other readers take another one.
Result<nlohmann::json> ParseJsonObject(std::string_view text, std::string_view file);

// An object and the key path that led to it. The first problem that any of a document's readers
// meets is kept, and every value read after it is a default.
class CheckedJson {
 public:
  // `json`, an object, and `problem`, which is OK, must outlive it; so must `file`, the name that
  // messages begin with.
  CheckedJson(const nlohmann::json& json, std::string_view file, Status* problem)
      : CheckedJson(json, file, "", problem) {}

  // Notes that the value of `key` is wrong: "must be ...".
  void Refuse(const std::string& key, const std::string& what) const;

  CheckedJson Object(const std::string& key) const;

  std::string Text(const std::string& key, size_t max_bytes = 4096) const;
  std::string TextOr(const std::string& key, const std::string& absent) const {
    return Absent(key) ? absent : Text(key);
  }

  // A list of texts of at most 512 bytes each; empty where it is absent.
  std::vector<std::string> Texts(const std::string& key, size_t max_count) const;

  // A list of exactly `count` numbers from `low` to `high`, or nulls.
  std::vector<std::optional<double>> NumbersOrNulls(const std::string& key, size_t count,
                                                    double low, double high) const;

  // A list of objects; empty where it is absent.
  std::vector<CheckedJson> Objects(const std::string& key, size_t max_count) const;

  // From `low` to `high`.
  int64_t Integer(const std::string& key, int64_t low, int64_t high) const;
  int32_t Integer32(const std::string& key, int32_t low, int32_t high) const {
    return static_cast<int32_t>(Integer(key, low, high));
  }
  int32_t Integer32Or(const std::string& key, int32_t low, int32_t high, int32_t absent) const {
    return Absent(key) ? absent : Integer32(key, low, high);
  }

  // Above `low`, at most `high`.
  double Number(const std::string& key, double low, double high) const;
  double NumberOr(const std::string& key, double low, double high, double absent) const {
    return Absent(key) ? absent : Number(key, low, high);
  }

  bool Boolean(const std::string& key) const;
  bool BooleanOr(const std::string& key, bool absent) const {
    return Absent(key) ? absent : Boolean(key);
  }

  // Not there, or null.
  bool Absent(const std::string& key) const;
  std::vector<std::string> Keys() const;

 private:
  CheckedJson(const nlohmann::json& json, std::string_view file, std::string path, Status* problem)
      : json_(json), file_(file), path_(std::move(path)), problem_(problem) {}

  const nlohmann::json* Find(const std::string& key) const;
  std::string PathOf(const std::string& key) const;

  const nlohmann::json& json_;
  const std::string_view file_;
  const std::string path_;
  Status* const problem_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_MODEL_CHECKED_JSON_H_
