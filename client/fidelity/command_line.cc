#include "client/fidelity/command_line.h"

#include "client/cli/exit_code.h"
#include "client/cli/number_flags.h"
#include "client/cli/usage_mistake.h"
#include "client/weights/weight_tensors.h"
#include "kernels/format.h"
#include "server/base/parse_number.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <iostream>
#include <iterator>

namespace tightfit::fidelity {
namespace {

constexpr const char* kWholeScope = "linear+conv";

// What --protocol stands for where the single flags say nothing.
constexpr int32_t kProtocolSeeds = 25;
constexpr int32_t kProtocolSteps = 25;
constexpr double kProtocolGuidance = 7.0;
constexpr const char* kProtocolSampler = "dpmpp-2m-karras";

constexpr const char* kFooter = R"(Examples:
  tightfit fidelity --model deploy/models/emoji-xl/model \
      --prompts deploy/models/emoji-xl/prompts.txt --classes deploy/models/emoji-xl/classes.json
  tightfit fidelity --model models/sdxl --formats hf8,e2m5r --scopes linear+conv \
      --prompts tests/bench/prompts/latent-psnr.txt --compute-dtype bf16
  tightfit fidelity --model models/sdxl --prompts FILE --limit 1 --protocol --formats e2m5r,q8
  tightfit fidelity --sensitivity --store --model models/sdxl --prompts FILE --steps 4 --limit 2
  tightfit fidelity --model DIR --prompts FILE --json | jq '.rows[] | {name, scope, resident_bytes}'

Draws every prompt with the unpacked weights and with each format and scope, through the server's
own pipeline and with the same seeds, and tells how far apart they are: after one step and after
all, in latents and in images. Beside them stand the floors: the same run again, unpacked weights
computed in bf16, and the next seed. Needs no server.

The cosine of the latents says how far an image went its own way: 1 is the same direction. An image
counts as bifurcated if that cosine, between the latents with packed and with unpacked weights,
falls by more than 0.05 from one step to the next, the last one included: it did not get worse, it
became another image. A fall per step means little with fewer than 20 steps. --protocol measures as
HSWQ does, whose gate is a mean cosine of 0.95 and no image of 25 that bifurcates: it stands for
--seeds 25 --steps 25 --guidance 7 --samplers dpmpp-2m-karras --scopes linear+conv, but for what is
given beside it.

FILE has one prompt a line; " = NAME" at its end names the class of --classes that the image
should be most like. Written into the folder --out: fidelity.md, fidelity.json, contact-sheet.png.
Ctrl-C keeps the rows that are complete.

--sensitivity packs the layers of the UNet one by one instead and measures what each alone does to
the final latents. It writes sensitivity.jsonl, a line a layer, into --out, goes on from there after
Ctrl-C, and at its end writes sensitivity.json, from which --model ...,budget_mib=N and
`tightfit pack --budget-mib` choose a format for each layer. With --formats each layer is drawn in
each of them; one suffices, other formats are reckoned from it by the noise of their weights.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted.)";

// Each is a number, or a format that is drawn with all Linear and Conv2d anyhow.
void CheckBudgets(const FidelityOptions& options) {
  for (const std::string& budget : options.budgets) {
    if (ParseFraction(budget, 0.01, 1e6).ok()) continue;
    const bool is_drawn = std::ranges::find(options.formats, budget) != options.formats.end() &&
                          std::ranges::find(options.scopes, kWholeScope) != options.scopes.end();
    if (!is_drawn) {
      throw CLI::ValidationError("--budgets", "\"" + budget +
                                                  "\" is neither a number of MiB nor one of "
                                                  "--formats with the scope linear+conv");
    }
  }
}

void TakeProtocol(const CLI::App& app, FidelityOptions* options) {
  if (app.count("--seeds") == 0) options->seed_count = kProtocolSeeds;
  if (app.count("--steps") == 0) options->step_count = kProtocolSteps;
  if (app.count("--guidance") == 0) options->guidance_scale = kProtocolGuidance;
  if (app.count("--samplers") == 0) options->samplers = {kProtocolSampler};
  if (app.count("--scopes") == 0) options->scopes = {kWholeScope};
}

// A name that is given twice would be drawn twice.
void DropRepeated(std::vector<std::string>* names) {
  auto end = names->begin();
  for (const std::string& name : *names) {
    if (std::find(names->begin(), end, name) == end) *end++ = name;
  }
  names->erase(end, names->end());
}

template <typename Names>
void CheckNames(const std::string& flag, const std::vector<std::string>& values, const Names& names,
                const std::string& hint) {
  for (const std::string& value : values) {
    if (std::find(std::begin(names), std::end(names), value) == std::end(names)) {
      throw CLI::ValidationError(flag, "there is no \"" + value + "\"; " + hint);
    }
  }
}

}  // namespace

std::variant<FidelityOptions, ExitNow> ParseCommandLine(int argc, const char* const* argv) {
  FidelityOptions options;
  std::vector<std::string> format_names;
  for (const FormatInfo& info : kFormats) format_names.emplace_back(info.name);
  options.formats = {"all"};
  options.scopes.assign(std::begin(weights::kScopes), std::end(weights::kScopes));
  options.samplers = {"euler", "euler-a"};

  CLI::App app("Measure what each weight format does to a model's images.", "tightfit fidelity");
  app.footer(kFooter);
  app.set_version_flag("-V,--version", "tightfit-fidelity " TIGHTFIT_VERSION);
  app.add_option("--model", options.model, "A model directory")->type_name("DIR")->required();
  app.add_option("--prompts", options.prompts, "The prompts to draw")
      ->type_name("FILE")
      ->required();
  app.add_option("--formats", options.formats,
                 "Formats, separated by commas; default: all of `tightfit-weights formats`")
      ->type_name("NAMES")
      ->delimiter(',');
  app.add_option("--scopes", options.scopes, "attention, linear, linear+conv; default: all three")
      ->type_name("NAMES")
      ->delimiter(',');
  app.add_option("--budgets", options.budgets,
                 "Also draw with a format for each layer: MiB of all weights, separated by commas, "
                 "or formats of --formats for as many bytes as those take")
      ->type_name("LIST")
      ->delimiter(',');
  app.add_option("--classes", options.classes,
                 "Known images, to recognise what was drawn by its nearest neighbour")
      ->type_name("FILE");
  app.add_option("--against", options.against,
                 "Take the unpacked weights of this model directory as the reference")
      ->type_name("DIR");
  app.add_option("--samplers", options.samplers, "Samplers; default: euler,euler-a")
      ->type_name("NAMES")
      ->delimiter(',');
  cli::AddInteger(&app, "--steps", &options.step_count, "Steps; default: the model's", 1, 1000)
      ->type_name("N");
  cli::AddFraction(&app, "--guidance", &options.guidance_scale,
                   "Guidance scale; default: the model's", 0, 100)
      ->type_name("SCALE");
  cli::AddInteger(&app, "--seed", &options.seed, "Seed of the first prompt; each has the next one",
                  0, 4294967295)
      ->type_name("N")
      ->default_str("1");
  cli::AddInteger(&app, "--limit", &options.prompt_limit, "Only the first N prompts", 1, 100000)
      ->type_name("N");
  cli::AddInteger(&app, "--seeds", &options.seed_count,
                  "Draw every prompt from N seeds; default: 1, with --protocol 25", 1, 1000)
      ->type_name("N");
  bool is_protocol = false;
  app.add_flag("--protocol", is_protocol,
               "25 seeds, 25 steps, guidance 7, dpmpp-2m-karras, linear+conv; see below");
  cli::AddInteger(&app, "--width", &options.width_px, "Width; default: the model's", 8, 4096)
      ->type_name("PX");
  cli::AddInteger(&app, "--height", &options.height_px, "Height; default: the model's", 8, 4096)
      ->type_name("PX");
  app.add_option("--compute-dtype", options.compute_dtype, "fp32, bf16 or fp16")
      ->type_name("TYPE")
      ->capture_default_str();
  app.add_flag("--sensitivity", options.sensitivity,
               "Measure single layers: one scope and sampler, by default linear+conv, euler, nf4, "
               "and at most 8 steps");
  app.add_flag("--store", options.store,
               "With --sensitivity: also put it into the model directory");
  bool no_floors = false;
  app.add_flag("--no-floors", no_floors, "Leave out the floors");
  app.add_option("--out", options.out, "Folder to write to")
      ->type_name("DIR")
      ->capture_default_str();
  cli::AddInteger(&app, "--threads", &options.thread_count,
                  "Threads; default: one for each processor", 1, 256)
      ->type_name("N");
  app.add_flag("--json", options.json,
               "The JSON document on stdout instead of the table; keys in client/fidelity/JSON.md");
  app.add_flag("-q,--quiet", options.quiet, "No progress");

  try {
    cli::Parse(&app, cli::WithHelpAsOption(argc, argv));
    options.with_floors = !no_floors;
    if (is_protocol) TakeProtocol(app, &options);
    if (options.sensitivity) {
      for (const char* flag : {"--protocol", "--seeds"}) {
        if (app.count(flag) > 0) {
          throw CLI::ValidationError(flag, "has no meaning with --sensitivity");
        }
      }
      if (app.count("--formats") == 0) options.formats = {"nf4"};
      if (app.count("--scopes") == 0) options.scopes = {"linear+conv"};
      if (app.count("--samplers") == 0) options.samplers = {"euler"};
    } else if (options.store) {
      throw CLI::ValidationError("--store", "goes with --sensitivity");
    }
    DropRepeated(&options.formats);
    DropRepeated(&options.scopes);
    DropRepeated(&options.samplers);
    if (options.formats == std::vector<std::string>{"all"}) options.formats = format_names;
    if (options.formats == std::vector<std::string>{"none"}) options.formats.clear();
    CheckNames("--formats", options.formats, format_names, "`tightfit-weights formats` lists them");
    CheckNames("--scopes", options.scopes, weights::kScopes, "use attention, linear, linear+conv");
    CheckBudgets(options);
    if (options.sensitivity &&
        (options.formats.empty() || options.scopes.size() != 1 || options.samplers.size() != 1)) {
      throw CLI::ValidationError("--sensitivity",
                                 "takes one scope, one sampler and at least one format");
    }
    return options;
  } catch (const CLI::Success& asked) {  // --help, --version
    return ExitNow{app.exit(asked)};
  } catch (const CLI::ParseError& mistake) {
    std::cerr << "error: " << cli::MistakeText(app, mistake) << "\nRun tightfit fidelity --help.\n";
    return ExitNow{cli::kExitUsage};
  }
}

}  // namespace tightfit::fidelity
