#include "server/pipeline/clip_tokenizer.h"

#include "server/pipeline/byte_pair_encoding.h"
#include "server/pipeline/clip_unicode.h"
#include "server/pipeline/clip_vocabulary.h"
#include "server/pipeline/clip_words.h"

#include <algorithm>
#include <filesystem>
#include <utility>

namespace tightfit {
namespace {

struct Match {
  size_t position = std::string_view::npos;
  const AddedToken* token = nullptr;
};

// The leftmost of `tokens` in `text`, and of those that begin there the longest.
Match FindAddedToken(std::string_view text, const std::vector<AddedToken>& tokens) {
  for (size_t position = 0; position < text.size(); ++position) {
    for (const AddedToken& token : tokens) {
      if (text.substr(position).starts_with(token.content)) return {position, &token};
    }
  }
  return {};
}

// Calls `on_text` for the text between added tokens and `on_token` for each of these, in order.
template <typename OnText, typename OnToken>
void SplitAtAddedTokens(std::string_view text, const std::vector<AddedToken>& tokens,
                        OnText on_text, OnToken on_token) {
  while (!text.empty()) {
    const Match match = FindAddedToken(text, tokens);
    on_text(text.substr(0, match.position));
    if (match.token == nullptr) return;
    on_token(*match.token);
    text.remove_prefix(match.position + match.token->content.size());
  }
}

}  // namespace

class ClipTokenizer::Impl {
 public:
  Impl(BytePairEncoding encoding, TokenizerConfig config)
      : encoding_(std::move(encoding)), config_(std::move(config)) {
    // ICU makes its composition tables at their first use: some milliseconds of no request.
    NormalizeForClip("\u00C5");
    for (AddedToken& token : config_.added_tokens) {
      if (token.is_normalized) {
        token.content = NormalizeForClip(token.content);
        normalized_tokens_.push_back(std::move(token));
      } else {
        typed_tokens_.push_back(std::move(token));
      }
    }
    const std::vector<int64_t> comma = Tokens(",");
    if (comma.size() == 1 && comma.front() != config_.unknown_id) comma_id_ = comma.front();
  }

  std::optional<int64_t> comma_id() const { return comma_id_; }

  std::vector<int64_t> Tokens(std::string_view text) const {
    std::vector<int64_t> tokens;
    const auto append_token = [&](const AddedToken& token) { tokens.push_back(token.id); };
    const auto append_words = [&](std::string_view normalized) {
      for (const std::string_view word : SplitIntoClipWords(normalized)) {
        encoding_.Encode(word, tokens);
      }
    };
    const auto append_text = [&](std::string_view typed) {
      SplitAtAddedTokens(NormalizeForClip(typed), normalized_tokens_, append_words, append_token);
    };
    SplitAtAddedTokens(text, typed_tokens_, append_text, append_token);
    return tokens;
  }

  std::vector<int64_t> Framed(std::span<const int64_t> tokens) const {
    std::vector<int64_t> ids;
    ids.reserve(kMaxLength);
    ids.push_back(config_.start_id);
    ids.insert(ids.end(), tokens.begin(), tokens.end());
    ids.push_back(config_.end_id);
    ids.resize(kMaxLength, config_.padding_id);
    return ids;
  }

 private:
  BytePairEncoding encoding_;
  TokenizerConfig config_;
  std::vector<AddedToken> typed_tokens_;
  std::vector<AddedToken> normalized_tokens_;
  std::optional<int64_t> comma_id_;
};

namespace {

// What both layouts say beside the configuration.
Result<TokenizerJson> ReadVocabulary(const std::string& directory) {
  const bool in_one_file = !std::filesystem::exists(directory + "/vocab.json") &&
                           std::filesystem::exists(directory + "/tokenizer.json");
  if (in_one_file) {
    TF_ASSIGN_OR_RETURN(const std::string json, ReadTokenizerFile(directory, "tokenizer.json"));
    return ParseTokenizerJson(json);
  }
  TF_ASSIGN_OR_RETURN(const std::string vocab_json, ReadTokenizerFile(directory, "vocab.json"));
  TF_ASSIGN_OR_RETURN(const std::string merges_txt, ReadTokenizerFile(directory, "merges.txt"));
  TF_ASSIGN_OR_RETURN(TokenIds vocabulary, ParseVocabulary(vocab_json));
  TF_ASSIGN_OR_RETURN(Merges merges, ParseMerges(merges_txt));
  return TokenizerJson{
      .vocabulary = std::move(vocabulary), .merges = std::move(merges), .added_tokens = "{}"};
}

}  // namespace

Result<std::unique_ptr<ClipTokenizer>> ClipTokenizer::Load(const std::string& directory) {
  TF_ASSIGN_OR_RETURN(const TokenizerJson read, ReadVocabulary(directory));
  TF_ASSIGN_OR_RETURN(const std::string config_json,
                      ReadTokenizerFile(directory, "tokenizer_config.json"));
  TF_ASSIGN_OR_RETURN(TokenizerConfig config,
                      ParseTokenizerConfig(config_json, read.vocabulary, read.added_tokens));
  TF_ASSIGN_OR_RETURN(BytePairEncoding encoding,
                      BytePairEncoding::Create(read.vocabulary, read.merges, config.unknown_id));
  return std::unique_ptr<ClipTokenizer>(
      new ClipTokenizer(std::make_unique<Impl>(std::move(encoding), std::move(config))));
}

ClipTokenizer::ClipTokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ClipTokenizer::~ClipTokenizer() = default;

std::optional<int64_t> ClipTokenizer::comma_id() const { return impl_->comma_id(); }

std::vector<int64_t> ClipTokenizer::Tokens(std::string_view text) const {
  return impl_->Tokens(text);
}

std::vector<int64_t> ClipTokenizer::Framed(std::span<const int64_t> tokens) const {
  return impl_->Framed(tokens);
}

TokenizedPrompt ClipTokenizer::Tokenize(std::string_view prompt) const {
  constexpr size_t kMaxTokens = kMaxLength - 2;
  const std::vector<int64_t> tokens = Tokens(prompt);
  return {.ids = Framed(std::span(tokens).first(std::min(tokens.size(), kMaxTokens))),
          .token_count = static_cast<int32_t>(tokens.size()),
          .truncated = tokens.size() > kMaxTokens};
}

}  // namespace tightfit
