// The prompts that images are drawn for.
#ifndef TIGHTFIT_CLIENT_FIDELITY_PROMPT_LIST_H_
#define TIGHTFIT_CLIENT_FIDELITY_PROMPT_LIST_H_

#include "server/base/status.h"

#include <string>
#include <vector>

namespace tightfit::fidelity {

struct Prompt {
  std::string text;
  std::string class_name;  // what the image should be recognised as; empty: nothing is said
};

// One prompt a line; " = NAME" at its end names the class. Empty lines, lines that begin with # and
// a byte order mark at the beginning do not count. Errors: NO_PROMPTS.
Result<std::vector<Prompt>> ParsePrompts(const std::string& text);

// CLASSES_MISSING where a prompt names a class and there are none to look it up in.
Status CheckClasses(const std::vector<Prompt>& prompts, bool has_classes);

}  // namespace tightfit::fidelity

#endif  // TIGHTFIT_CLIENT_FIDELITY_PROMPT_LIST_H_
