// What in a prompt is markup of other tools that this server does not have: it is drawn as words or
// left out, and the client is told. Free of gRPC and of LibTorch.
#ifndef TIGHTFIT_SERVER_ENGINE_PROMPT_WARNINGS_H_
#define TIGHTFIT_SERVER_ENGINE_PROMPT_WARNINGS_H_

#include "server/engine/generation.h"

#include <cstddef>
#include <string_view>
#include <vector>

namespace tightfit {

// Of one request, over all its prompts.
inline constexpr size_t kMaxRequestWarnings = 32;

// `reason` of RequestWarning.
inline constexpr std::string_view kLoraIgnored = "LORA_IGNORED";
inline constexpr std::string_view kExtraNetworkIgnored = "EXTRA_NETWORK_IGNORED";
inline constexpr std::string_view kEmbeddingReadAsText = "EMBEDDING_READ_AS_TEXT";
inline constexpr std::string_view kMarkupReadAsText = "MARKUP_READ_AS_TEXT";

// Of `prompt`, the value of `field` as the client sent it, in the order of their offsets:
//   <lora:name:0.8>, <lyco:..>           LORA_IGNORED           left out of what is encoded
//   <hypernet:..>, any other <kind:..>   EXTRA_NETWORK_IGNORED  left out
//   embedding:name, <name>               EMBEDDING_READ_AS_TEXT
//   [from:to:when], [to:when], [a|b], AND, AND with :weight (A1111); ADDCOL, ADDROW, ADDCOMM,
//   ADDBASE; {a|b}, __name__ (dynamic prompts); (words)1.3, (words)+, word++, word--, .swap(),
//   .and(), .or(), .blend() (InvokeAI, compel); {words}, 1.3::words:: (NovelAI); words::2, --ar 3:2
//   (Midjourney); (words:1,3)            MARKUP_READ_AS_TEXT
// Not meant, so that prose stays prose: what a backslash escapes; AND between two words in capitals
// ("BLACK AND WHITE"); `C++` and other single letters, one + or - behind a word; a number behind
// brackets that continue a word ("Ca(OH)2") or beyond 10 ("(c)2024"); brackets that are never
// closed; an object of JSON. Of markup within markup that is read as text the outermost is told.
// With kPlain every character is text on purpose: tags and embedding:name alone are told, as
// MARKUP_READ_AS_TEXT and EMBEDDING_READ_AS_TEXT. Time: n log n in the bytes.
std::vector<RequestWarning> PromptWarnings(std::string_view field, std::string_view prompt,
                                           PromptSyntax syntax);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_PROMPT_WARNINGS_H_
