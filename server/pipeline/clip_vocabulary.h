// The files that describe a CLIP tokenizer, read and checked.
#ifndef TIGHTFIT_SERVER_PIPELINE_CLIP_VOCABULARY_H_
#define TIGHTFIT_SERVER_PIPELINE_CLIP_VOCABULARY_H_

#include "server/base/status.h"
#include "server/pipeline/byte_pair_encoding.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tightfit {

// A token that is found in the prompt as a whole before words are made.
struct AddedToken {
  std::string content;
  int32_t id = 0;
  // Looked for in the normalised prompt, so in any case, instead of in the prompt as typed.
  bool is_normalized = false;
};

// vocab.json: one object, token text -> id, the ids being 0 ... size - 1.
Result<TokenIds> ParseVocabulary(std::string_view json);

// merges.txt: an optional `#version` line, then `LEFT RIGHT` lines in rank order.
Result<Merges> ParseMerges(std::string_view text);

struct TokenizerConfig {
  int32_t start_id = 0;
  int32_t end_id = 0;
  int32_t unknown_id = 0;
  int32_t padding_id = 0;
  // Every special token once, longest content first. The padding token is one of them: where it is
  // `!`, as in SDXL's second tokenizer, each `!` of a prompt becomes its id, as in transformers.
  std::vector<AddedToken> added_tokens;
};

// tokenizer_config.json: bos_token, eos_token, unk_token, pad_token (text or object with `content`;
// CLIP's own where absent) and added_tokens_decoder. Tokens that take white space with them
// (lstrip, rstrip) or match whole words only (single_word) are refused. `added_tokens` stands in
// for an added_tokens_decoder that is not there.
Result<TokenizerConfig> ParseTokenizerConfig(std::string_view json, const TokenIds& vocabulary,
                                             std::string_view added_tokens = "{}");

// tokenizer.json: what the other files say, in one. `added_tokens` is its list as
// added_tokens_decoder of tokenizer_config.json has it, a JSON object as text. Errors: DATA_LOSS
// for anything but byte-pair encoding with the end of word "</w>".
struct TokenizerJson {
  TokenIds vocabulary;
  Merges merges;
  std::string added_tokens;
};
Result<TokenizerJson> ParseTokenizerJson(std::string_view json);

// Reads the whole of `directory`/`file_name`, at most 64 MiB.
Result<std::string> ReadTokenizerFile(const std::string& directory, const std::string& file_name);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_CLIP_VOCABULARY_H_
