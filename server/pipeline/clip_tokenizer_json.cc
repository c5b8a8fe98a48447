// ParseTokenizerJson, of clip_vocabulary.h.
#include "server/base/json_text.h"
#include "server/pipeline/clip_vocabulary.h"

#include <nlohmann/json.hpp>

#include <limits>
#include <optional>
#include <utility>

namespace tightfit {
namespace {

using Json = nlohmann::json;

Status Bad(const std::string& what) {
  return {StatusCode::kDataLoss, "BAD_TOKENIZER", "tokenizer.json is damaged: " + what};
}

std::string TextOr(const Json& object, const char* key, const char* absent) {
  const auto found = object.find(key);
  if (found == object.end()) return absent;
  return found->is_string() ? found->get<std::string>() : std::string();
}

std::optional<int32_t> IdOf(const Json& value) {
  if (!value.is_number_unsigned() ||
      value.get<uint64_t>() > uint64_t{std::numeric_limits<int32_t>::max()}) {
    return std::nullopt;
  }
  return value.get<int32_t>();
}

// "a b", or ["a", "b"] as newer files have it.
std::optional<std::pair<std::string, std::string>> PairOf(const Json& merge) {
  if (merge.is_string()) {
    const auto& text = merge.get_ref<const std::string&>();
    const size_t space = text.find(' ');
    if (space == std::string::npos || space == 0 || space + 1 == text.size()) return std::nullopt;
    return std::pair(text.substr(0, space), text.substr(space + 1));
  }
  if (!merge.is_array() || merge.size() != 2 || !merge[0].is_string() || !merge[1].is_string()) {
    return std::nullopt;
  }
  return std::pair(merge[0].get<std::string>(), merge[1].get<std::string>());
}

Status ReadModel(const Json& model, TokenizerJson* parsed) {
  if (!model.is_object() || TextOr(model, "type", "BPE") != "BPE" ||
      TextOr(model, "end_of_word_suffix", "") != "</w>") {
    return Bad("its model is not CLIP's byte-pair encoding");
  }
  const auto vocabulary = model.find("vocab");
  const auto merges = model.find("merges");
  if (vocabulary == model.end() || !vocabulary->is_object() || merges == model.end() ||
      !merges->is_array()) {
    return Bad("its model has no vocab or no merges");
  }
  for (const auto& [token, value] : vocabulary->items()) {
    const std::optional<int32_t> id = IdOf(value);
    if (!id.has_value()) return Bad("an id in its vocab is none");
    parsed->vocabulary.emplace(token, *id);
  }
  for (const Json& merge : *merges) {
    auto pair = PairOf(merge);
    if (!pair.has_value()) return Bad("a merge is not two parts");
    parsed->merges.push_back(std::move(*pair));
  }
  return OkStatus();
}

Status ReadAddedTokens(const Json& top, TokenizerJson* parsed) {
  Json decoder = Json::object();
  const auto added = top.find("added_tokens");
  if (added != top.end()) {
    if (!added->is_array()) return Bad("added_tokens is not a list");
    for (const Json& token : *added) {
      if (!token.is_object() || !token.contains("id")) return Bad("an added token has no id");
      const std::optional<int32_t> id = IdOf(token["id"]);
      const std::string content = TextOr(token, "content", "");
      if (!id.has_value() || content.empty()) return Bad("an added token has no content");
      parsed->vocabulary.emplace(content, *id);
      decoder[std::to_string(*id)] = token;
    }
  }
  parsed->added_tokens = decoder.dump();
  return OkStatus();
}

}  // namespace

Result<TokenizerJson> ParseTokenizerJson(std::string_view json) {
  if (HoldsNul(json)) return Bad("it holds NUL");
  // Depth is bounded before parsing: destroying a deeply nested document would recurse as deep.
  const Json::parser_callback_t limit_depth = [](int depth, Json::parse_event_t, Json&) {
    return depth <= 16;
  };
  const Json top = Json::parse(json, limit_depth, /*allow_exceptions=*/false);
  const auto model = top.is_object() ? top.find("model") : top.end();
  if (!top.is_object() || model == top.end()) return Bad("no JSON object with a model");
  TokenizerJson parsed;
  TF_RETURN_IF_ERROR(ReadModel(*model, &parsed));
  TF_RETURN_IF_ERROR(ReadAddedTokens(top, &parsed));
  return parsed;
}

}  // namespace tightfit
