#include "server/pipeline/clip_vocabulary.h"

#include "server/base/json_text.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <optional>
#include <system_error>

namespace tightfit {
namespace {

using Json = nlohmann::json;

Status BadFile(std::string_view file_name, std::string_view what) {
  return {StatusCode::kDataLoss, "BAD_TOKENIZER",
          std::string(file_name) + " is damaged: " + std::string(what)};
}

// Collects a flat object of numbers; anything else stops the parser with `error` set.
class VocabularyReader final : public nlohmann::json_sax<Json> {
 public:
  TokenIds ids;
  std::string error;

  bool start_object(size_t) override {
    if (std::exchange(in_object_, true)) return Refuse("a nested object");
    return true;
  }
  bool key(string_t& text) override {
    token_ = std::move(text);
    return true;
  }
  bool number_unsigned(number_unsigned_t id) override {
    if (!in_object_) return Refuse("not an object");
    if (id > static_cast<number_unsigned_t>(std::numeric_limits<int32_t>::max())) {
      return Refuse("an id is too large");
    }
    if (!ids.emplace(std::move(token_), static_cast<int32_t>(id)).second) {
      return Refuse("a token comes twice");
    }
    return true;
  }
  bool end_object() override { return true; }
  bool null() override { return Refuse(kNotAnId); }
  bool boolean(bool) override { return Refuse(kNotAnId); }
  bool number_integer(number_integer_t) override { return Refuse(kNotAnId); }
  bool number_float(number_float_t, const string_t&) override { return Refuse(kNotAnId); }
  bool string(string_t&) override { return Refuse(kNotAnId); }
  bool binary(binary_t&) override { return Refuse(kNotAnId); }
  bool start_array(size_t) override { return Refuse(kNotAnId); }
  bool end_array() override { return true; }
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    return Refuse("no valid JSON at byte " + std::to_string(position));
  }

 private:
  static constexpr char kNotAnId[] = "a value is not an id";

  bool Refuse(std::string what) {
    error = std::move(what);
    return false;
  }

  bool in_object_ = false;
  std::string token_;
};

// One entry of tokenizer_config.json: plain text, or an object with flags.
struct ConfiguredToken {
  std::string content;
  bool is_normalized = false;
};

Result<bool> Flag(const Json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end()) return false;
  if (!found->is_boolean()) {
    return BadFile("tokenizer_config.json", std::string(name) + " is not true or false");
  }
  return found->get<bool>();
}

Result<ConfiguredToken> ParseToken(const Json& value, const std::string& name) {
  if (value.is_string()) return ConfiguredToken{value.get<std::string>(), false};
  const auto content = value.find("content");
  if (!value.is_object() || content == value.end() || !content->is_string()) {
    return BadFile("tokenizer_config.json", name + " is neither text nor an object with `content`");
  }
  for (const char* unsupported : {"lstrip", "rstrip", "single_word"}) {
    TF_ASSIGN_OR_RETURN(const bool is_set, Flag(value, unsupported));
    if (is_set) {
      return Status(
          StatusCode::kDataLoss, "BAD_TOKENIZER",
          "tokenizer_config.json: " + name + " sets " + unsupported + ", which is not supported");
    }
  }
  TF_ASSIGN_OR_RETURN(const bool is_normalized, Flag(value, "normalized"));
  return ConfiguredToken{content->get<std::string>(), is_normalized};
}

std::optional<int32_t> ParseId(std::string_view digits) {
  int32_t id = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), id);
  if (error != std::errc() || end != digits.data() + digits.size() || id < 0) return std::nullopt;
  return id;
}

// The added tokens by content. Where the same content is described more than once, the description
// that transformers would use stays.
class AddedTokens {
 public:
  explicit AddedTokens(const TokenIds& vocabulary) : vocabulary_(vocabulary) {}

  Status AddFromDecoder(const Json& decoder) {
    if (!decoder.is_object()) {
      return BadFile("tokenizer_config.json", "added_tokens_decoder is not an object");
    }
    for (const auto& [key, value] : decoder.items()) {
      const std::optional<int32_t> id = ParseId(key);
      if (!id.has_value()) {
        return BadFile("tokenizer_config.json", "added_tokens_decoder has a key that is no id");
      }
      TF_ASSIGN_OR_RETURN(ConfiguredToken token, ParseToken(value, "added token " + key));
      const auto known = vocabulary_.find(token.content);
      if (token.content.empty() || (known != vocabulary_.end() && known->second != *id)) {
        return BadFile("tokenizer_config.json", "added token " + key + " contradicts vocab.json");
      }
      from_decoder_.emplace(token.content, AddedToken{token.content, *id, token.is_normalized});
    }
    return OkStatus();
  }

  // Returns the id of the special token `name`.
  Result<int32_t> AddSpecial(const Json& config, const char* name, const char* default_content) {
    ConfiguredToken token{default_content, false};
    if (const auto found = config.find(name); found != config.end()) {
      TF_ASSIGN_OR_RETURN(token, ParseToken(*found, name));
    }
    if (const auto added = from_decoder_.find(token.content); added != from_decoder_.end()) {
      return added->second.id;
    }
    const auto known = vocabulary_.find(token.content);
    if (token.content.empty() || known == vocabulary_.end()) {
      return BadFile("tokenizer_config.json", std::string(name) + " is no token of vocab.json");
    }
    special_.insert_or_assign(token.content,
                              AddedToken{token.content, known->second, token.is_normalized});
    return known->second;
  }

  std::vector<AddedToken> LongestFirst() const {
    std::vector<AddedToken> tokens;
    for (const auto& [content, token] : from_decoder_) tokens.push_back(token);
    for (const auto& [content, token] : special_) tokens.push_back(token);
    std::stable_sort(tokens.begin(), tokens.end(), [](const AddedToken& a, const AddedToken& b) {
      return a.content.size() > b.content.size();
    });
    return tokens;
  }

 private:
  const TokenIds& vocabulary_;
  std::map<std::string, AddedToken> from_decoder_;
  std::map<std::string, AddedToken> special_;
};

}  // namespace

Result<TokenIds> ParseVocabulary(std::string_view json) {
  VocabularyReader reader;
  if (HoldsNul(json)) return BadFile("vocab.json", "it holds NUL");
  if (!Json::sax_parse(json.begin(), json.end(), &reader)) {
    return BadFile("vocab.json", reader.error);
  }
  if (reader.ids.empty()) return BadFile("vocab.json", "it holds no tokens");
  std::vector<bool> seen(reader.ids.size());
  for (const auto& [token, id] : reader.ids) {
    if (static_cast<size_t>(id) >= seen.size() || seen[id]) {
      return BadFile("vocab.json",
                     "its ids are not 0 to " + std::to_string(seen.size() - 1) + ", each once");
    }
    seen[id] = true;
  }
  return std::move(reader.ids);
}

Result<Merges> ParseMerges(std::string_view text) {
  Merges merges;
  for (size_t line_number = 1; !text.empty(); ++line_number) {
    const size_t line_end = text.find('\n');
    std::string_view line = text.substr(0, line_end);
    text.remove_prefix(line_end == std::string_view::npos ? text.size() : line_end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line_number == 1 && line.starts_with("#version")) continue;
    if (line.empty() && text.empty()) break;
    const size_t space = line.find(' ');
    if (space == std::string_view::npos || space == 0 || space + 1 == line.size() ||
        line.find(' ', space + 1) != std::string_view::npos) {
      return BadFile("merges.txt",
                     "line " + std::to_string(line_number) + " is not two parts with one space");
    }
    merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  }
  return merges;
}

Result<TokenizerConfig> ParseTokenizerConfig(std::string_view json, const TokenIds& vocabulary,
                                             std::string_view added_tokens) {
  if (HoldsNul(json)) return BadFile("tokenizer_config.json", "it holds NUL");
  const Json config = Json::parse(json.begin(), json.end(), nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) return BadFile("tokenizer_config.json", "no valid JSON object");
  AddedTokens added(vocabulary);
  const auto decoder = config.find("added_tokens_decoder");
  TF_RETURN_IF_ERROR(added.AddFromDecoder(
      decoder != config.end() ? *decoder : Json::parse(added_tokens, nullptr, false)));
  // In this order: a later description of the same content replaces the earlier one.
  TokenizerConfig parsed;
  TF_ASSIGN_OR_RETURN(parsed.start_id, added.AddSpecial(config, "bos_token", "<|startoftext|>"));
  TF_ASSIGN_OR_RETURN(parsed.end_id, added.AddSpecial(config, "eos_token", "<|endoftext|>"));
  TF_ASSIGN_OR_RETURN(parsed.unknown_id, added.AddSpecial(config, "unk_token", "<|endoftext|>"));
  TF_ASSIGN_OR_RETURN(parsed.padding_id, added.AddSpecial(config, "pad_token", "<|endoftext|>"));
  parsed.added_tokens = added.LongestFirst();
  return parsed;
}

Result<std::string> ReadTokenizerFile(const std::string& directory, const std::string& file_name) {
  constexpr uintmax_t kMaxFileBytes = 64 << 20;
  const std::filesystem::path path = std::filesystem::path(directory) / file_name;
  std::error_code error;
  const uintmax_t size_bytes = std::filesystem::file_size(path, error);
  if (error) {
    return Status(StatusCode::kDataLoss, "BAD_TOKENIZER", file_name + " cannot be read")
        .WithDetail(path.string() + ": " + error.message());
  }
  if (size_bytes > kMaxFileBytes) {
    return Status(StatusCode::kDataLoss, "BAD_TOKENIZER", file_name + " is larger than 64 MiB")
        .WithDetail(path.string());
  }
  std::string text(size_bytes, '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.read(text.data(), static_cast<std::streamsize>(text.size()))) {
    return Status(StatusCode::kDataLoss, "BAD_TOKENIZER", file_name + " cannot be read")
        .WithDetail(path.string());
  }
  return text;
}

}  // namespace tightfit
