// The weighted prompt syntax of A1111: parts of a prompt with their weights. Free of LibTorch.
#ifndef TIGHTFIT_SERVER_PIPELINE_PROMPT_SYNTAX_H_
#define TIGHTFIT_SERVER_PIPELINE_PROMPT_SYNTAX_H_

#include <string>
#include <string_view>
#include <vector>

namespace tightfit {

inline constexpr double kBracketFactor = 1.1;
// Weights beyond it give no image; they come down to it.
inline constexpr double kMaxPromptWeight = 10.0;

struct PromptPart {
  std::string text;
  double weight = 1.0;        // -kMaxPromptWeight to kMaxPromptWeight
  bool starts_chunk = false;  // a BREAK stood before it
};

// Never fails; what is no markup is text.
//   (text)      weight x 1.1          (text:1.3)  weight x 1.3        [text]  weight / 1.1
//   \( \) \[ \] \\  the character itself; any other backslash goes away
//   <kind:anything>  goes away, as the tags of extra_networks.h
//   BREAK       as a word of its own: what follows starts a chunk; white space around it goes away
// Brackets nest, their factors multiply. One that is never closed reaches to the end; one that was
// never opened is text. Neighbours of equal weight are one part; at least one part comes back.
std::vector<PromptPart> ParseWeightedPrompt(std::string_view prompt);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_PROMPT_SYNTAX_H_
