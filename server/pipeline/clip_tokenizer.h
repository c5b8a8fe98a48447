// ClipTokenizer: CLIP's byte-level BPE, equal to transformers' CLIPTokenizer. Free of LibTorch.
#ifndef TIGHTFIT_SERVER_PIPELINE_CLIP_TOKENIZER_H_
#define TIGHTFIT_SERVER_PIPELINE_CLIP_TOKENIZER_H_

#include "server/base/status.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace tightfit {

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

  // Reads vocab.json, merges.txt and, for the padding token, tokenizer_config.json of `directory`.
  // Errors: DATA_LOSS naming the file and what is wrong with it.
  static Result<std::unique_ptr<ClipTokenizer>> Load(const std::string& directory);
  ~ClipTokenizer();

  // `prompt` is UTF-8; invalid sequences count as U+FFFD. Never fails, never more than 77 ids.
  // Special tokens that the prompt spells become their ids, as in transformers: `<|endoftext|>`,
  // and
  // `!` where it is the padding token. Time: n log n in the bytes of a word; 4 KiB take under 1 ms.
  TokenizedPrompt Tokenize(std::string_view prompt) const;

 private:
  class Impl;
  explicit ClipTokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_CLIP_TOKENIZER_H_
