#include "client/cli/usage_mistake.h"

#include "client/cli/terminal.h"
#include "server/base/closest_name.h"

#include <algorithm>
#include <iterator>
#include <string_view>
#include <utility>

namespace tightfit::cli {
namespace {

using Name = std::pair<std::string_view, std::string_view>;

// What other programs call the same.
constexpr Name kCommands[] = {{"create", "generate"}, {"draw", "generate"},   {"list", "models"},
                              {"ls", "models"},       {"ps", "models"},       {"pull", "load"},
                              {"run", "generate"},    {"show", "models"},     {"status", "info"},
                              {"stop", "unload"},     {"txt2img", "generate"}};
constexpr Name kOptions[] = {{"--address", "--server"},
                             {"--batch-size", "--count"},
                             {"--cfg", "--guidance"},
                             {"--cfg-scale", "--guidance"},
                             {"--guidance-scale", "--guidance"},
                             {"--host", "--server"},
                             {"--n-iter", "--count"},
                             {"--negative", "--negative-prompt"},
                             {"--num-images", "--count"},
                             {"--num-inference-steps", "--steps"},
                             {"--out", "--output"},
                             {"--port", "--server"},
                             {"--scheduler", "--sampler"},
                             {"--step-count", "--steps"},
                             {"--url", "--server"}};

template <size_t kCount>
std::string_view Elsewhere(const Name (&names)[kCount], std::string_view name,
                           const std::vector<std::string>& known) {
  for (const Name& each : names) {
    if (each.first == name && std::find(known.begin(), known.end(), each.second) != known.end()) {
      return each.second;
    }
  }
  return {};
}

template <size_t kCount>
std::string Guess(const Name (&names)[kCount], std::string_view name,
                  const std::vector<std::string>& known) {
  const std::string_view same = Elsewhere(names, name, known);
  if (!same.empty()) return "; did you mean \"" + std::string(same) + "\"?";
  return DidYouMean(name, {known.begin(), known.end()});
}

std::vector<std::string> CommandsOf(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  return names;
}

std::vector<std::string> OptionsOf(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    for (const std::string& name : option->get_snames()) names.push_back("-" + name);
  }
  return names;
}

std::string Joined(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < names.size(); ++i) {
    if (i > 0) text += i + 1 < names.size() ? ", " : " or ";
    text += names[i];
  }
  return text;
}

bool IsOption(const std::string& word) { return word.size() > 1 && word.front() == '-'; }

}  // namespace

std::string MistakeText(const CLI::App& app, const CLI::ParseError& mistake) {
  const std::vector<CLI::App*> chosen = app.get_subcommands();
  const std::vector<std::string> commands = CommandsOf(app);
  const std::vector<std::string> extras = app.remaining(/*recurse=*/true);
  const auto option = std::find_if(extras.begin(), extras.end(), IsOption);
  if (chosen.empty() && !commands.empty()) {
    const auto word = std::find_if_not(extras.begin(), extras.end(), IsOption);
    // What stands behind an option is its value.
    if (word != extras.end() && option > word) {
      return "there is no command \"" + Printable(*word) + "\"" + Guess(kCommands, *word, commands);
    }
    if (option < word && word != extras.end()) {
      return "a command comes first, then its options: " + Joined(commands);
    }
    if (option == extras.end() && mistake.get_name() == "RequiredError") {
      return "a command is needed: " + Joined(commands);
    }
  }
  if (option != extras.end()) {
    const CLI::App& command = chosen.empty() ? app : *chosen.front();
    const std::string name = option->substr(0, option->find('='));
    const std::vector<std::string> known = OptionsOf(command);
    if (!chosen.empty() && std::find(known.begin(), known.end(), name) != known.end()) {
      return "\"" + Printable(name) + "\" belongs behind \"" + command.get_name() + "\"";
    }
    return "there is no option \"" + Printable(name) + "\"" + Guess(kOptions, name, known);
  }
  if (mistake.get_exit_code() == static_cast<int>(CLI::ExitCodes::ExtrasError)) {
    const std::string text = mistake.what();
    const size_t colon = text.find(": ");
    const std::string word =
        extras.empty() ? text.substr(colon == text.npos ? 0 : colon + 2) : extras.front();
    return "\"" + Printable(word) +
           "\" is one word too many; a text of several words stands in quotes";
  }
  return Printable(mistake.what());
}

std::vector<std::string> WithHelpAsOption(int argc, const char* const* argv) {
  std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  if (arguments.empty() || arguments.front() != "help") return arguments;
  arguments.erase(arguments.begin());
  arguments.resize(std::min<size_t>(arguments.size(), 1));
  arguments.emplace_back("--help");
  return arguments;
}

void Parse(CLI::App* app, std::vector<std::string> arguments) {
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes them
  app->parse(std::move(arguments));
}

}  // namespace tightfit::cli
