// What the server warns of, in lines for people.
#ifndef TIGHTFIT_CLIENT_CLI_WARNING_LINES_H_
#define TIGHTFIT_CLIENT_CLI_WARNING_LINES_H_

#include "client/cli/terminal.h"
#include "client/cpp/generation_types.h"

#include <string>
#include <string_view>

namespace tightfit::cli {

// `warning: prompt: "<lora:x:0.8>": LoRAs are ...`, without control characters and newlines; a long
// text is cut.
std::string WarningLine(const client::RequestWarning& warning, const TextStyle& style);

// "warning: TEXT", "note: TEXT".
std::string WarningLine(std::string_view text, const TextStyle& style);
std::string NoteLine(std::string_view text, const TextStyle& style);

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_WARNING_LINES_H_
