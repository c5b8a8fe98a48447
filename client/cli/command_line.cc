#include "client/cli/command_line.h"

#include "client/cli/exit_code.h"
#include "client/cli/init_image_flags.h"
#include "client/cli/number_flags.h"
#include "client/cli/redraw.h"
#include "client/cli/security_flags.h"
#include "client/cli/usage_mistake.h"
#include "client/cli/whole_file.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <iostream>
#include <iterator>
#include <string_view>
#include <utility>

namespace tightfit::cli {
namespace {

constexpr std::string_view kLatentsSuffix = ".safetensors";

constexpr const char* kMainFooter = R"(Examples:
  tightfit generate "red apple" -o apple.png
  tightfit models
  tightfit models --watch
  tightfit generate "red apple" --estimate
  tightfit info --server draw.example.org:50051 --tls-ca ca.pem --token-file alice.token
  tightfit pack models/sdxl --out models/sdxl-e2m5r
  tightfit fidelity --help

A token comes from --token-file or the variable TIGHTFIT_TOKEN, never from an option: every user of
a machine can read its command lines.
Every command takes --help and --json. Exit codes: 0 done, 1 refused or failed, 2 wrong usage,
3 cannot connect, 130 interrupted.)";

constexpr const char* kGenerateFooter = R"(Examples:
  tightfit generate "red apple"                      tightfit-SEED.png, with the model's defaults
  tightfit generate "red apple" -o apple.png --seed 42 --steps 30 --sampler euler-a
  tightfit generate "red apple" --count 4 -o apple.png     apple-1.png to apple-4.png, seeds s..s+3
  tightfit generate "red apple" --count 4 -o images/       tightfit-SEED.png in a folder
  echo "red apple" | tightfit generate - --quiet
  tightfit generate "a (red:1.3) apple, [blurry]"    part of the prompt weighs more, part less
  tightfit generate "red apple" --seed 1 --denoising-end 0.8 -o apple.safetensors
  tightfit generate "red apple" --denoising-start 0.8 --initial-latents apple.safetensors
  tightfit generate --from-png apple.png             the same image again, to the pixel
  tightfit generate --from-png apple.png --seed random --steps 40     another one like it
  tightfit generate "green apple" --init-image apple.png --strength 0.6     draw over an image
  tightfit generate "a worm" --init-image apple.png --mask hole.png         only where it is white
  tightfit generate "a hill" --init-image apple.png --outpaint 0,0,256,0    and what is beside it
  tightfit generate "red apple" --json 2>/dev/null | jq -r '.images[].file'

--from-png takes what an option does not give from the text in the image (tightfit's, A1111's,
Forge's), and says on stderr what of it is not done here.
An option left out takes the model's default; `tightfit models NAME` shows them, `tightfit info` the
limits. A file named by -o is overwritten; files that get a name of their own never replace another.
The names of the files go to stdout, all else to stderr. Ctrl-C stops the work on the server too and
keeps the images that are complete.)";

constexpr const char* kModelsFooter = R"(Examples:
  tightfit models                    all models with state, format and size
  tightfit models emoji-first        what each component takes beside its fp16 size, and why
  tightfit models big --layers       the format and bytes of each layer's weight
  tightfit models --watch            a live table until Ctrl-C; --json: a line for each change
  tightfit models --json | jq '.models[] | {name, state}')";

constexpr const char* kResidencyFooter =
    R"(Models come to the device with their first request and leave when others need the room: the
one that was used longest ago goes first.
Examples:
  tightfit load sdxl                            before the first request comes
  tightfit unload sdxl                          give its memory back; --force ends running requests
  tightfit update sdxl --pinned true            it is never evicted
  tightfit update sdxl --keep-alive 600         it goes after ten unused minutes)";

constexpr const char* kInfoFooter = R"(Examples:
  tightfit info
  tightfit info --json | jq .capabilities.max_side_px)";

// "HOST" gets the default port.
std::string CheckServer(std::string server) {
  const size_t scheme_end = server.find("://");
  if (scheme_end != server.npos && !server.starts_with(kTlsScheme)) {
    // Of gRPC's own targets; all else is the address of something else.
    constexpr std::string_view kTargets[] = {"dns",           "ipv4",  "ipv6", "unix",
                                             "unix-abstract", "vsock", "xds"};
    const std::string scheme = server.substr(0, scheme_end);
    if (std::find(std::begin(kTargets), std::end(kTargets), scheme) == std::end(kTargets)) {
      throw CLI::ValidationError(
          "--server", "give HOST:PORT without " + scheme + "://, or https://HOST:PORT for TLS");
    }
  }
  if (server.starts_with(kTlsScheme)) {
    server.erase(0, kTlsScheme.size());
    if (server.ends_with('/')) server.pop_back();
  }
  if (server.empty()) throw CLI::ValidationError("--server", "is empty; give HOST:PORT");
  const bool has_port_or_scheme = server.ends_with("]") ? false : server.find(':') != server.npos;
  return has_port_or_scheme ? server : server + ":50051";
}

// The options that every command has.
struct SharedFlags {
  std::string server;
  double connect_timeout_seconds = 5.0;
  std::optional<double> timeout_seconds;
  SecurityFlags security;
  bool wait = false;
  bool json = false;

  void AddTo(CLI::App* command) {
    server = SharedOptions().server;
    command
        ->add_option("--server", server,
                     "Server to ask; https://HOST:PORT: with TLS and the system's roots")
        ->envname("TIGHTFIT_SERVER")
        ->type_name("HOST:PORT")
        ->capture_default_str()
        ->group("Connection");
    AddFraction(command, "--connect-timeout", &connect_timeout_seconds,
                "Give up connecting after this", 0.001, 86400.0)
        ->type_name("SECONDS")
        ->default_str("5")
        ->group("Connection");
    command->add_flag("--wait", wait, "Wait so long also for a server that does not listen yet")
        ->group("Connection");
    AddFraction(command, "--timeout", &timeout_seconds, "Give up the whole call after this", 0.001,
                86400.0 * 365)
        ->type_name("SECONDS")
        ->group("Connection");
    security.AddTo(command);
    command->add_flag("--json", json, "One JSON document on stdout; keys in client/cli/JSON.md");
  }

  SharedOptions Values() const {
    const auto milliseconds = [](double seconds) {
      return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1e3 + 0.5));
    };
    SharedOptions options{.server = CheckServer(server),
                          .connect_timeout = milliseconds(connect_timeout_seconds)};
    if (timeout_seconds.has_value()) options.timeout = milliseconds(*timeout_seconds);
    options.wait = wait;
    options.json = json;
    security.ApplyTo(server, &options);
    return options;
  }
};

// Two whole numbers around `separator`, nothing else.
std::pair<int32_t, int32_t> ParsePair(const std::string& flag, std::string_view text,
                                      char separator, const std::string& shape) {
  const size_t middle = text.find(separator);
  if (middle == std::string_view::npos) {
    throw CLI::ValidationError(flag, "\"" + std::string(text) + "\" is not of the form " + shape);
  }
  return {IntegerOrThrow<int32_t>(flag, text.substr(0, middle)),
          IntegerOrThrow<int32_t>(flag, text.substr(middle + 1))};
}

// Latents of the largest image that a server may be told to allow fit.
constexpr size_t kMaxLatentsBytes = 64 << 20;
// The longest prompt that a server may be told to allow.
constexpr size_t kMaxPromptBytes = 1 << 20;

struct GenerateFlags {
  SharedFlags shared;
  client::ImageRequest request;
  std::optional<std::string> positional_prompt;
  std::optional<std::string> prompt;
  std::optional<std::string> original_size;
  std::optional<std::string> target_size;
  std::optional<std::string> crop_top_left;
  std::optional<std::string> output;
  std::optional<std::string> prompt_syntax;
  std::vector<std::string> initial_latents;
  InitImageFlags init_image;
  std::optional<std::string> from_png;
  bool seed_is_random = false;
  bool no_metadata = false;
  bool quiet = false;
  bool estimate = false;

  void AddTo(CLI::App* command) {
    command->add_option("text", positional_prompt, "What to draw; - reads it from stdin")
        ->type_name("PROMPT");
    command
        ->add_option(
            "-o,--output", output,
            "PNG file, a folder (existing, or ending in /), or - for stdout; .safetensors: the "
            "latents")
        ->type_name("PATH");
    command->add_flag("-q,--quiet", quiet,
                      "No progress, no summary: only file names, warnings and errors");
    command->add_flag(
        "--estimate", estimate,
        "Draw nothing: tell the memory it would take and which models would be unloaded for it");
    command
        ->add_option("--from-png", from_png,
                     "Draw this image again: its parameters stand in for options left out")
        ->type_name("FILE");
    shared.AddTo(command);

    command->add_option("--model", request.model, "Model; needed where the server has several")
        ->type_name("NAME")
        ->group("Image");
    command->add_option("--prompt", prompt, "The prompt, where it is not given as a word")
        ->group("Image");
    command->add_option("--negative-prompt", request.negative_prompt, "What to keep away from")
        ->group("Image");
    AddInteger(command, "--width", &request.width_px, "Width")->type_name("PX")->group("Image");
    AddInteger(command, "--height", &request.height_px, "Height")->type_name("PX")->group("Image");
    AddInteger(command, "--steps", &request.step_count, "Denoising steps")
        ->type_name("N")
        ->group("Image");
    AddFraction(command, "--guidance", &request.guidance_scale,
                "Classifier-free guidance; 1 turns it off and halves the time")
        ->type_name("SCALE")
        ->group("Image");
    AddFraction(command, "--guidance-rescale", &request.guidance_rescale,
                "Take back this share of the contrast that guidance adds, 0 to 1")
        ->type_name("SHARE")
        ->group("Image");
    command->add_option("--sampler", request.sampler, "Sampler, such as euler or euler-a")
        ->type_name("NAME")
        ->group("Image");
    command
        ->add_option("--timestep-spacing", request.timestep_spacing,
                     "Where the steps lie; few-step models need trailing")
        ->type_name("leading|trailing|linspace")
        ->group("Image");
    command
        ->add_option_function<std::string>(
            "--seed", [this](const std::string& text) { TakeSeed(text); },
            "Seed of the first image; random (or -1), also if left out")
        ->type_name("N|random")
        ->group("Image");
    AddInteger(command, "--count", &request.image_count, "Images; each has the next seed")
        ->type_name("N")
        ->group("Image");

    command->add_option("--prompt-2", request.prompt_2, "For text encoder 2; default: the prompt")
        ->group("SDXL conditioning");
    command
        ->add_option("--negative-prompt-2", request.negative_prompt_2,
                     "For text encoder 2; default: the negative prompt")
        ->group("SDXL conditioning");
    command->add_option("--original-size", original_size, "Size before cropping; default: the size")
        ->type_name("WxH")
        ->group("SDXL conditioning");
    command->add_option("--target-size", target_size, "Size aimed at; default: the size")
        ->type_name("WxH")
        ->group("SDXL conditioning");
    command->add_option("--crop-top-left", crop_top_left, "Crop offset; default: 0,0")
        ->type_name("LEFT,TOP")
        ->group("SDXL conditioning");

    command
        ->add_option("--prompt-syntax", prompt_syntax,
                     "weighted: (word:1.3), [word], BREAK, long prompts; plain: as diffusers")
        ->type_name("weighted|plain")
        ->check(CLI::IsMember({"weighted", "plain"}).description(""))
        ->group("Prompt");
    AddInteger(command, "--clip-skip", &request.clip_skip,
               "Leave out this many layers more than SDXL's usual one; a model card's clip skip 2 "
               "is 0 here")
        ->type_name("N")
        ->group("Prompt");
    AddInteger(command, "--comma-backtrack", &request.comma_backtrack_tokens,
               "Cut long prompts at a comma up to so many tokens back; 0: never there")
        ->type_name("N")
        ->group("Prompt");

    init_image.AddTo(command, &request);

    AddFraction(command, "--denoising-end", &request.denoising_end,
                "Stop at this share of the denoising, 0 to 1; keep the latents with -o "
                "NAME.safetensors")
        ->type_name("SHARE")
        ->group("Part of the denoising");
    AddFraction(command, "--denoising-start", &request.denoising_start,
                "Go on from this share, from --initial-latents")
        ->type_name("SHARE")
        ->group("Part of the denoising");
    command
        ->add_option("--initial-latents", initial_latents,
                     "Latents that another request left, one file for each image")
        ->type_name("FILE")
        ->group("Part of the denoising");

    command
        ->add_option("--request-id", request.request_id, "Name of the request in the server's log")
        ->type_name("ID")
        ->group("Other");
    command->add_flag("--no-metadata", no_metadata, "Do not write the parameters into the PNG")
        ->group("Other");
    command->footer(kGenerateFooter);
  }

  // Web interfaces write -1 for a random seed.
  void TakeSeed(const std::string& text) {
    seed_is_random = text == "random" || text == "-1";
    request.seed.reset();
    if (!seed_is_random) request.seed = IntegerOrThrow<int64_t>("--seed", text);
  }

  // Puts what the image says under the options.
  void Redraw(GenerateOptions* options) const {
    options->drawn = ReadDrawnImage(*from_png);
    options->model_is_chosen = request.model.has_value();
    const std::optional<std::string>& given = prompt.has_value() ? prompt : positional_prompt;
    const std::string new_prompt = options->request.prompt;
    options->request = WithFlags(options->drawn->request, options->request);
    if (given.has_value()) options->request.prompt = new_prompt;
    if (seed_is_random) options->request.seed.reset();
    if (options->request.denoising_start.value_or(0.0f) > 0.0f && initial_latents.empty()) {
      throw CLI::ValidationError("--from-png",
                                 "the image was drawn on from latents, which are not in it; give "
                                 "them by --initial-latents");
    }
    RequireInitImage(request, options);
  }

  GenerateOptions Values() const {
    if (positional_prompt.has_value() && prompt.has_value()) {
      throw CLI::ValidationError("prompt", "given twice: as a word and by --prompt");
    }
    if (!positional_prompt.has_value() && !prompt.has_value() && !from_png.has_value()) {
      throw CLI::ValidationError("prompt", "missing; for example: tightfit generate \"red apple\"");
    }
    GenerateOptions options{.shared = shared.Values(),
                            .request = request,
                            .drawn = std::nullopt,
                            .output = output,
                            .quiet = quiet,
                            .estimate = estimate};
    options.request.prompt = prompt.has_value() ? *prompt : positional_prompt.value_or("");
    if (options.request.prompt == "-") {
      options.request.prompt = ValueOrThrow("prompt", ReadStdin(kMaxPromptBytes));
      if (options.request.prompt.ends_with('\n')) options.request.prompt.pop_back();
    }
    const auto size = [](const char* flag, const std::string& text) {
      const auto [width_px, height_px] = ParsePair(flag, text, 'x', "1024x1024");
      return client::Size{width_px, height_px};
    };
    if (original_size) options.request.original_size = size("--original-size", *original_size);
    if (target_size) options.request.target_size = size("--target-size", *target_size);
    if (crop_top_left) {
      const auto [left_px, top_px] = ParsePair("--crop-top-left", *crop_top_left, ',', "0,0");
      options.request.crop_top_left = client::Offset{left_px, top_px};
    }
    if (no_metadata) options.request.embed_metadata = false;
    if (prompt_syntax) {
      options.request.prompt_syntax = *prompt_syntax == "plain" ? client::PromptSyntax::kPlain
                                                                : client::PromptSyntax::kWeighted;
    }
    if (output && output->ends_with(kLatentsSuffix)) {
      options.request.mime_type = client::kLatentsMimeType;
    }
    for (const std::string& file : initial_latents) {
      options.request.initial_latents.push_back(
          ValueOrThrow("--initial-latents", ReadWholeFile(file, kMaxLatentsBytes)));
    }
    init_image.ApplyTo(&options.request);
    if (from_png.has_value()) Redraw(&options);
    return options;
  }
};

// Of load, unload and update.
struct ResidencyFlags {
  SharedFlags shared;
  std::string name;
  bool force = false;
  std::optional<bool> pinned;
  std::optional<double> keep_alive_seconds;
  std::optional<int32_t> priority;

  CLI::App* AddTo(CLI::App* app, const char* command_name, const char* description) {
    CLI::App* const command = app->add_subcommand(command_name, description);
    command->add_option("name", name, "The model")->required();
    shared.AddTo(command);
    command->footer(kResidencyFooter);
    return command;
  }

  void AddUpdatesTo(CLI::App* command) {
    command->add_option("--pinned", pinned, "Never evict it to make room for others")
        ->type_name("true|false");
    AddFraction(command, "--keep-alive", &keep_alive_seconds,
                "Evict it when unused for so long; 0: only when others need the room", 0,
                366.0 * 86400)
        ->type_name("SECONDS");
    AddInteger(command, "--priority", &priority, "Models of low priority are evicted first")
        ->type_name("N");
  }

  SharedOptions Shared() const { return shared.Values(); }

  client::ModelUpdate Update() const {
    if (!pinned && !keep_alive_seconds && !priority) {
      throw CLI::ValidationError("update",
                                 "nothing to change; give --pinned, --keep-alive or "
                                 "--priority");
    }
    client::ModelUpdate update{.pinned = pinned, .keep_alive = {}, .priority = priority};
    if (keep_alive_seconds) {
      update.keep_alive = std::chrono::nanoseconds(static_cast<int64_t>(*keep_alive_seconds * 1e9));
    }
    return update;
  }
};

}  // namespace

Command ParseCommandLine(int argc, const char* const* argv) {
  CLI::App app("Draw images with a tightfit server, and see what it holds.", "tightfit");
  app.footer(kMainFooter);
  app.set_version_flag("-V,--version", "tightfit " TIGHTFIT_VERSION);
  app.require_subcommand(1);

  GenerateFlags generate;
  CLI::App* generate_command =
      app.add_subcommand("generate", "Draw images from a prompt, with live progress");
  generate.AddTo(generate_command);

  SharedFlags models;
  std::string model_name;
  CLI::App* models_command =
      app.add_subcommand("models", "List the models, or show one with every byte it holds");
  bool watch = false;
  models_command->add_option("name", model_name, "A model, to see its components");
  CLI::Option* watch_flag =
      models_command->add_flag("--watch", watch, "Keep showing them as they change, until Ctrl-C");
  bool layers = false;
  models_command
      ->add_flag("--layers", layers, "Of one model: the format and bytes of each layer's weight")
      ->excludes(watch_flag);
  models.AddTo(models_command);
  models_command->footer(kModelsFooter);

  ResidencyFlags load;
  ResidencyFlags unload;
  ResidencyFlags update;
  CLI::App* load_command = load.AddTo(&app, "load", "Bring a model to the device");
  CLI::App* unload_command = unload.AddTo(&app, "unload", "Take a model off the device");
  unload_command->add_flag("--force", unload.force,
                           "Also if it is pinned or in use; its running requests end");
  CLI::App* update_command =
      update.AddTo(&app, "update", "Change how long a model stays on the device");
  update.AddUpdatesTo(update_command);

  SharedFlags info;
  CLI::App* info_command =
      app.add_subcommand("info", "Show the server, its device and what may be asked of it");
  info.AddTo(info_command);
  info_command->footer(kInfoFooter);

  // For the list of commands alone: main hands these to programs of their own.
  app.add_subcommand("fidelity", "Measure what each format does to a model's images; no server");
  app.add_subcommand("pack", "Pack a model's weights once, unpack or verify them; no server");

  try {
    Parse(&app, WithHelpAsOption(argc, argv));
    if (generate_command->parsed()) return generate.Values();
    if (models_command->parsed()) {
      ModelsOptions options{
          .shared = models.Values(), .name = model_name, .watch = watch, .layers = layers};
      if (layers && model_name.empty()) {
        throw CLI::ValidationError("--layers", "shows the layers of one model; name it");
      }
      return options;
    }
    if (load_command->parsed()) return LoadOptions{.shared = load.Shared(), .name = load.name};
    if (unload_command->parsed()) {
      return UnloadOptions{.shared = unload.Shared(), .name = unload.name, .force = unload.force};
    }
    if (update_command->parsed()) {
      return UpdateOptions{
          .shared = update.Shared(), .name = update.name, .update = update.Update()};
    }
    return InfoOptions{.shared = info.Values()};
  } catch (const CLI::Success& asked) {  // --help, --version
    return ExitNow{app.exit(asked)};
  } catch (const CLI::ParseError& mistake) {
    std::string help = "tightfit ";
    for (const CLI::App* command : app.get_subcommands()) help += command->get_name() + " ";
    std::cerr << "error: " << MistakeText(app, mistake) << "\nRun " << help << "--help.\n";
    return ExitNow{kExitUsage};
  }
}

}  // namespace tightfit::cli
