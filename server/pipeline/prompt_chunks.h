// ChunkPrompt: a prompt as the chunks of tokens that a text encoder takes. Free of LibTorch.
#ifndef TIGHTFIT_SERVER_PIPELINE_PROMPT_CHUNKS_H_
#define TIGHTFIT_SERVER_PIPELINE_PROMPT_CHUNKS_H_

#include "server/engine/generation.h"
#include "server/pipeline/clip_tokenizer.h"

#include <cstdint>
#include <string_view>
#include <vector>

namespace tightfit {

// Tokens beyond this many chunks are cut off; a prompt of 4 KiB of words fits.
inline constexpr size_t kMaxPromptChunks = 16;

struct TokenChunk {
  std::vector<int64_t> ids;    // start, tokens, end, padding
  std::vector<float> weights;  // of each id; 1 for those that are no tokens of the prompt
};

struct ChunkedPrompt {
  std::vector<TokenChunk> chunks;  // at least one
  int32_t token_count = 0;         // of the whole prompt
  int32_t used_token_count = 0;    // of them in the chunks
};

// How a prompt is read and cut.
struct PromptReading {
  PromptSyntax syntax = PromptSyntax::kWeighted;
  int32_t comma_backtrack_tokens = 0;  // as in GenerationParameters
};

// kPlain: one chunk, the first 75 tokens, every weight 1: what diffusers does. kWeighted: parts of
// prompt_syntax.h, tokenised one by one and put into chunks of up to 75 tokens, one after the
// other; BREAK starts a chunk unless one has just begun. A full chunk that another token follows
// hands the tokens behind its last comma on to the next chunk if they, with the comma, are at most
// `comma_backtrack_tokens`, as A1111 does; a comma that is itself the one too many begins the next
// chunk. The last of kMaxPromptChunks is filled.
ChunkedPrompt ChunkPrompt(std::string_view prompt, const PromptReading& reading,
                          const ClipTokenizer& tokenizer);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_PROMPT_CHUNKS_H_
