// What a user did wrong on a command line, in one line that says what was probably meant.
#ifndef TIGHTFIT_CLIENT_CLI_USAGE_MISTAKE_H_
#define TIGHTFIT_CLIENT_CLI_USAGE_MISTAKE_H_

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace tightfit::cli {

// Of a failed `app.parse`: an unknown command or option is named, not its value, with the nearest
// that there is.
std::string MistakeText(const CLI::App& app, const CLI::ParseError& mistake);

// The arguments with `help` and `help COMMAND` as the options that CLI11 knows: --help.
std::vector<std::string> WithHelpAsOption(int argc, const char* const* argv);

// Parses `arguments` of WithHelpAsOption. Throws CLI::ParseError.
void Parse(CLI::App* app, std::vector<std::string> arguments);

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_USAGE_MISTAKE_H_
