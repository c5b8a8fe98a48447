// ClipTokenizer: CLIP's byte-level BPE, equal to transformers' CLIPTokenizer. Free of LibTorch.
#ifndef TIGHTFIT_SERVER_PIPELINE_CLIP_TOKENIZER_H_
#define TIGHTFIT_SERVER_PIPELINE_CLIP_TOKENIZER_H_

#include "server/base/status.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tightfit {

// One prompt as one chunk.
struct TokenizedPrompt {
  // Exactly `max_length` ids: start, tokens, end, padding.
  std::vector<int64_t> ids;
  // Tokens of the whole prompt without start and end; more than max_length - 2 means truncated.
  int32_t token_count = 0;
  bool truncated = false;
};

// Thread-safe after Load.
class ClipTokenizer {
 public:
  static constexpr int32_t kMaxLength = 77;

  // Reads vocab.json and merges.txt of `directory`, or tokenizer.json where there is no vocab.json,
  // and for the special tokens tokenizer_config.json.
  // Errors: DATA_LOSS naming the file and what is wrong with it.
  static Result<std::unique_ptr<ClipTokenizer>> Load(const std::string& directory);
  ~ClipTokenizer();

  // The tokens of UTF-8 text; invalid sequences count as U+FFFD. Never fails. Special tokens that
  // the text spells become their ids, as in transformers: `<|endoftext|>`, and `!` where it is the
  // padding token. Time: n log n in the bytes of a word; 4 KiB take under 1 ms.
  std::vector<int64_t> Tokens(std::string_view text) const;

  // kMaxLength ids: start, `tokens` (at most kMaxLength - 2), end, padding.
  std::vector<int64_t> Framed(std::span<const int64_t> tokens) const;

  // The token of a comma that ends a word, as in "a, b"; nullopt where the vocabulary has none.
  std::optional<int64_t> comma_id() const;

  // Tokens of `prompt`, as many as fit, framed.
  TokenizedPrompt Tokenize(std::string_view prompt) const;

 private:
  class Impl;
  explicit ClipTokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_CLIP_TOKENIZER_H_
