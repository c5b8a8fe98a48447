// Fuzz target: tokenizer files and prompts. The first byte says what the rest is: a vocabulary, a
// list of merges, a configuration, a tokenizer.json, or a prompt for a small tokenizer of its own.
#include "server/pipeline/byte_pair_encoding.h"
#include "server/pipeline/clip_tokenizer.h"
#include "server/pipeline/clip_vocabulary.h"
#include "server/pipeline/prompt_chunks.h"
#include "server/pipeline/prompt_syntax.h"
#include "tests/fuzz/require.h"

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace tightfit {
namespace {

// Letters and some words; the rest of the bytes is unknown to it.
constexpr std::string_view kVocabulary =
    R"({"<|startoftext|>":0,"<|endoftext|>":1,"a":2,"b":3,"c":4,"a</w>":5,"b</w>":6,"c</w>":7,)"
    R"("ab":8,"abc</w>":9,"bc</w>":10,"!":11,"!</w>":12,",":13,",</w>":14})";
constexpr std::string_view kMerges = "#version: 0.2\na b\nab c</w>\nb c</w>\n";
constexpr int64_t kTokenCount = 15;

std::unique_ptr<ClipTokenizer> MakeTokenizer() {
  std::string directory =
      (std::filesystem::temp_directory_path() / "tightfit_tokenizer_XXXXXX").string();
  Require(::mkdtemp(directory.data()) != nullptr);
  std::ofstream(directory + "/vocab.json") << kVocabulary;
  std::ofstream(directory + "/merges.txt") << kMerges;
  std::ofstream(directory + "/tokenizer_config.json") << R"({"pad_token":"!"})";
  Result<std::unique_ptr<ClipTokenizer>> tokenizer = ClipTokenizer::Load(directory);
  std::filesystem::remove_all(directory);
  Require(tokenizer.ok());
  return *std::move(tokenizer);
}

void ReadPrompt(std::string_view prompt) {
  static const ClipTokenizer& tokenizer = *MakeTokenizer().release();
  for (const int64_t token : tokenizer.Tokens(prompt)) Require(token >= 0 && token < kTokenCount);
  const TokenizedPrompt tokenized = tokenizer.Tokenize(prompt);
  Require(tokenized.ids.size() == ClipTokenizer::kMaxLength);

  for (const PromptPart& part : ParseWeightedPrompt(prompt)) {
    Require(std::abs(part.weight) <= kMaxPromptWeight);
  }
  for (const PromptSyntax syntax : {PromptSyntax::kWeighted, PromptSyntax::kPlain}) {
    const ChunkedPrompt chunked =
        ChunkPrompt(prompt, {.syntax = syntax, .comma_backtrack_tokens = 20}, tokenizer);
    Require(!chunked.chunks.empty() && chunked.chunks.size() <= kMaxPromptChunks);
    Require(chunked.used_token_count <= chunked.token_count);
    for (const TokenChunk& chunk : chunked.chunks) {
      Require(chunk.ids.size() == ClipTokenizer::kMaxLength);
      Require(chunk.weights.size() == chunk.ids.size());
      Require(chunk.ids.front() == 0);
    }
  }
}

void CheckIds(const TokenIds& ids) {
  for (const auto& [token, id] : ids) Require(id >= 0);
}

void ReadFiles(std::string_view text, int kind) {
  const TokenIds known = *ParseVocabulary(kVocabulary);
  switch (kind) {
    case 0:
      if (const auto ids = ParseVocabulary(text); ids.ok()) {
        CheckIds(*ids);
        // As a tokenizer uses it.
        const auto encoding = BytePairEncoding::Create(*ids, *ParseMerges(kMerges), 0);
        if (encoding.ok()) Require(known.size() > 0);
      }
      return;
    case 1:
      if (const auto merges = ParseMerges(text); merges.ok()) {
        const auto encoding = BytePairEncoding::Create(known, *merges, 1);
        if (!encoding.ok()) return;
        std::vector<int64_t> ids;
        encoding->Encode("abcabcaabbcc", ids);
        Require(!ids.empty());
      }
      return;
    case 2:
      if (const auto config = ParseTokenizerConfig(text, known); config.ok()) {
        Require(config->padding_id >= 0 && config->start_id >= 0 && config->end_id >= 0);
        for (const AddedToken& token : config->added_tokens) {
          Require(!token.content.empty() && token.id >= 0);
        }
      }
      return;
    default:
      if (const auto parsed = ParseTokenizerJson(text); parsed.ok()) {
        CheckIds(parsed->vocabulary);
        const auto config = ParseTokenizerConfig("{}", parsed->vocabulary, parsed->added_tokens);
        const auto encoding = BytePairEncoding::Create(parsed->vocabulary, parsed->merges, 0);
        Require(config.ok() || !config.status().message().empty());
        Require(encoding.ok() || !encoding.status().message().empty());
      }
  }
}

}  // namespace
}  // namespace tightfit

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tightfit;
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const int kind = data[0] % 8;
  if (kind < 4) {
    ReadFiles(text, kind);
  } else {
    ReadPrompt(text);
  }
  return 0;
}
