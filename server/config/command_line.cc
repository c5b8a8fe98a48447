#include "server/config/command_line.h"

#include "server/base/closest_name.h"
#include "server/config/config_file.h"
#include "server/config/config_models.h"
#include "server/config/config_settings.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

constexpr char kDescription[] =
    "Serves SDXL pipelines over gRPC, their weights packed into compact floats.\n"
    "Settings come from the file of --config; flags go over it. --check tells whether both are "
    "right.";

constexpr char kFooter[] =
    "Examples: one model in hf8x, the image's first convolution left in fp16:\n"
    "  tightfit-server --model sdxl=/models/sdxl,format=hf8x,exclude=conv_in\n"
    "a token for somebody who may draw, then a server that takes no calls without one:\n"
    "  tightfit-server token new --role user --name alice --append-to tokens > alice.token\n"
    "  tightfit-server --model sdxl=/models/sdxl --tokens-file tokens\n"
    "Exit codes: 0 drained or asked only, 70 internal error, 71 device lost or a call of a model\n"
    "hangs, 72 requests were cut by the drain timeout, 78 configuration (also: address in use, no\n"
    "model could be loaded).";

std::string_view GroupOf(const Setting& setting) {
  if (setting.key.starts_with("limits.")) return "Limits ([limits] in the file)";
  if (setting.key.starts_with("log_")) return "Log";
  if (setting.key.starts_with("tls_") || setting.key == "tokens_file" ||
      setting.key == "allow_plaintext") {
    return "Security";
  }
  if (setting.key.find("listen") != std::string_view::npos || setting.key == "address_file") {
    return "Addresses";
  }
  return "Running";
}

constexpr char kTokenFooter[] =
    "The token goes to standard output and is kept nowhere; only its SHA-256 is in the line. A "
    "user\n"
    "may draw and look, an admin may also load, unload and update models. The server reads its\n"
    "tokens when it starts.";

// What the flags say, before anything is read or checked.
struct Flags {
  std::string config_path;
  std::vector<std::string> models;
  std::map<std::string, std::string, std::less<>> settings;  // by flag
  bool check = false;
  bool help = false;
  bool version = false;
  std::string token_role;
  std::string token_name;
  std::string token_append_to;
  bool token_help = false;
};

void Declare(CLI::App* app, Flags* flags) {
  app->set_help_flag();
  app->get_formatter()->column_width(38);
  app->footer(kFooter);
  app->add_option("--config", flags->config_path,
                  "File with settings; see deploy/tightfit.example.toml")
      ->option_text("FILE")
      ->group("Configuration");
  app->add_option("--model", flags->models,
                  "A model, repeatable; replaces one of that name in the file.\nA comma of a path "
                  "is written \\,")
      ->option_text("NAME=PATH[,KEY=VALUE...]")
      ->allow_extra_args(false)
      ->group("Models");
  const ServerConfig defaults;
  for (const Setting& setting : Settings()) {
    const std::string value = SettingText(setting, defaults);
    const std::string help = std::string(setting.help) + (value.empty() ? "" : " [" + value + "]");
    std::string& given = flags->settings[setting.flag()];
    CLI::Option* const option = setting.is_switch() ? app->add_flag(setting.flag(), given, help)
                                                    : app->add_option(setting.flag(), given, help);
    option->option_text(std::string(setting.value_name))->group(std::string(GroupOf(setting)));
  }
  app->add_flag("--check", flags->check, "Check configuration and model directories, then exit")
      ->group("Configuration");
  app->add_flag("--version", flags->version, "Print version and commit, then exit")
      ->group("Configuration");
  app->add_flag("-h,--help", flags->help, "Print this, then exit")->group("Configuration");
}

// `token new`, the one thing beside serving. Returns the command of `new`.
CLI::App* DeclareTokenCommand(CLI::App* app, Flags* flags) {
  CLI::App* const token = app->add_subcommand("token", "Tokens that clients call with");
  token->add_flag("-h,--help", flags->token_help, "Print this, then exit");
  CLI::App* const command =
      token->add_subcommand("new", "Make a token and the line that admits it");
  command->footer(kTokenFooter);
  command->add_option("--role", flags->token_role, "What its holder may do")
      ->option_text("user|admin");
  command->add_option("--name", flags->token_name, "Who holds it, for the log; not secret")
      ->option_text("NAME");
  command
      ->add_option("--append-to", flags->token_append_to,
                   "Append the line to this file instead of showing it")
      ->option_text("FILE");
  command->add_flag("-h,--help", flags->token_help, "Print this, then exit");
  return command;
}

Result<TokenRequest> ReadTokenRequest(const Flags& flags) {
  const std::optional<AccessRole> role = RoleByName(flags.token_role);
  if (!role.has_value()) {
    return BadConfiguration("token new: --role must be user or admin, not \"" + flags.token_role +
                            "\"");
  }
  if (!IsHolderName(flags.token_name)) {
    return BadConfiguration("token new: --name must be 1 to 64 of A-Z a-z 0-9 . _ -, not \"" +
                            flags.token_name + "\"");
  }
  return TokenRequest{*role, flags.token_name, flags.token_append_to};
}

std::string HelpText(const CLI::App& app) {
  constexpr size_t kFormatsPerLine = 12;
  std::string keys;
  size_t count = 0;
  for (const std::string_view format : ModelFormats()) {
    keys += (count == 0 ? "" : "|") + std::string(count % kFormatsPerLine == 0 ? "\n    " : "");
    keys += format;
    ++count;
  }
  return app.help() +
         "\nKeys of --model: format= [auto: e2m5r, or what the directory is packed in], of the UNet"
         "\n  or of each component ('unet=e2m5r;text_encoder_2=q8'), one of" +
         keys +
         "\n  scope=attention|linear|linear+conv [linear+conv], "
         "compute_dtype=auto|fp16|bf16|fp32 [auto],\n  budget_mib=N (all weights; each layer of "
         "the UNet gets a format of its own),\n  exclude=MODULE;MODULE (prefixes of modules "
         "that stay unpacked),\n  vae=FILE (safetensors to decode with), "
         "vae_tiling=auto|always|never [auto],\n  vae_tile_px=N [the model's], "
         "text_kv=step|request|streamed [request: keys and values of\n  prompts are computed "
         "once], "
         "preload=true|false [false: loaded for its first request],\n  pinned=true|false [false], "
         "keep_alive_seconds=N [0: until others need the room], priority=N [0]\n";
}

// An unknown flag gets the closest known one named.
Status UnknownFlag(const std::string& argument) {
  const std::string name = argument.substr(0, argument.find('='));
  std::vector<std::string> flags = {"--config", "--model", "--check", "--version", "--help"};
  for (const Setting& setting : Settings()) flags.push_back(setting.flag());
  return BadConfiguration("unknown argument \"" + name + "\"" +
                          DidYouMean(name, {flags.begin(), flags.end()}) + " See --help.");
}

Status ApplySettings(const CLI::App& app, const Flags& flags, ServerConfig* config,
                     ConfigOrigins* origins) {
  for (const Setting& setting : Settings()) {
    const std::string flag = setting.flag();
    if (app.count(flag) == 0) continue;
    if (const Status status = SetSettingFromText(setting, flags.settings.at(flag), config);
        !status.ok()) {
      return BadConfiguration(flag + ": " + status.message());
    }
    (*origins)[std::string(setting.key)] = flag;
  }
  return OkStatus();
}

Status ApplyModels(const Flags& flags, ServerConfig* config, ConfigOrigins* origins) {
  std::set<std::string> given;
  for (const std::string& text : flags.models) {
    TF_ASSIGN_OR_RETURN(ModelSpec spec, ParseModelFlag(text, origins));
    if (!given.insert(spec.name).second) {
      return BadConfiguration("--model " + spec.name + ": this name is given twice");
    }
    const auto same_name = [&](const ModelSpec& model) { return model.name == spec.name; };
    const auto found = std::find_if(config->models.begin(), config->models.end(), same_name);
    if (found == config->models.end()) {
      config->models.push_back(std::move(spec));
    } else {
      *found = std::move(spec);
    }
  }
  return OkStatus();
}

}  // namespace

Result<CommandLine> ReadCommandLine(int argc, const char* const* argv) {
  CLI::App app(kDescription, "tightfit-server");
  Flags flags;
  Declare(&app, &flags);
  const CLI::App* const new_token = DeclareTokenCommand(&app, &flags);
  const CLI::App* const token = app.get_subcommand("token");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ExtrasError&) {
    const std::vector<std::string> extras = app.remaining(/*recurse=*/true);
    return UnknownFlag(extras.empty() ? "" : extras.front());
  } catch (const CLI::ParseError& error) {
    return BadConfiguration(std::string(error.what()) + ". See --help.");
  }

  CommandLine line;
  if (token->parsed()) {
    if (flags.token_help) {
      line.action = CommandLine::Action::kHelp;
      line.help = (new_token->parsed() ? new_token->help("tightfit-server token")
                                       : token->help("tightfit-server")) +
                  "\n";
      return line;
    }
    if (!new_token->parsed()) {
      return BadConfiguration("token: say what to do with tokens: token new. See token --help.");
    }
    line.action = CommandLine::Action::kNewToken;
    TF_ASSIGN_OR_RETURN(line.new_token, ReadTokenRequest(flags));
    return line;
  }
  if (flags.help || flags.version) {
    line.action = flags.help ? CommandLine::Action::kHelp : CommandLine::Action::kVersion;
    if (flags.help) line.help = HelpText(app);
    return line;
  }
  ConfigOrigins origins;
  if (app.count("--config") > 0) {
    TF_RETURN_IF_ERROR(ReadConfigFile(flags.config_path, &line.config, &origins));
  }
  TF_RETURN_IF_ERROR(ApplySettings(app, flags, &line.config, &origins));
  TF_RETURN_IF_ERROR(ApplyModels(flags, &line.config, &origins));
  TF_RETURN_IF_ERROR(ValidateConfig(line.config, origins));
  line.origins = std::move(origins);
  if (flags.check) line.action = CommandLine::Action::kCheck;
  return line;
}

}  // namespace tightfit
