#include "client/pack/command_line.h"

#include "client/cli/byte_size.h"
#include "client/cli/exit_code.h"
#include "client/cli/number_flags.h"
#include "client/cli/usage_mistake.h"
#include "kernels/format.h"
#include "server/base/closest_name.h"
#include "server/base/cpu_share.h"
#include "server/weights/packing_scope.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <iostream>
#include <string_view>

namespace tightfit::pack {
namespace {

constexpr const char* kFooter = R"(Examples:
  tightfit pack models/sdxl --out models/sdxl-e2m5r
  tightfit pack models/sdxl --format unet=e2m5r,text_encoder_2=q8 --out models/sdxl-small
  tightfit pack models/sdxl --format unet=hf8:linear --exclude time_embedding --out models/x
  tightfit pack models/sdxl --budget-mib 2000 --format text_encoder_2=q8 --out models/sdxl-2000
  tightfit pack models/sdxl --min-psnr 40 --out models/sdxl-40db
  tightfit pack --verify models/sdxl-e2m5r
  tightfit pack --unpack models/sdxl-e2m5r --out models/sdxl-again
  tightfit pack models/sdxl-e2m5r --upload-shards 1900MiB --out upload/sdxl-e2m5r
  tightfit pack --join upload/sdxl-e2m5r --out models/sdxl-e2m5r
  tightfit pack models/sdxl --out models/x --json | jq '.components[] | {name, bytes}'

A packed model directory is smaller on the disk and is loaded without packing anything; a server
takes it like any other and draws the same images as if it had packed the weights itself. It needs
nothing of MODEL.

--format says how each component is packed: FORMAT is the UNet's, COMPONENT=FORMAT another one's,
after a colon with a scope of its own (attention, linear, linear+conv). Components are unet,
text_encoder, text_encoder_2 and vae; those that are not named stay in fp16. `tightfit-weights
formats` lists the formats, `tightfit fidelity` measures what they do to images.

--budget-mib gives each layer of the UNet a format of its own, so that the weights of all components
take at most so many MiB (what is not packed counted in 16 bits) and images change little;
--min-psnr takes the fewest bytes with which images are expected to come that near to those of
unpacked weights. Both go by what `tightfit fidelity --sensitivity --store` has measured once;
--format names other components than the UNet then.

Every source file is checked against model.json as it is read. DIR is there whole or not at all;
after Ctrl-C the same command goes on after the weight files of large models that were finished.
--unpack writes the decoded weights in fp16: what packing lost stays lost. --verify reads every
byte and prints a line for each damaged file or tensor.

--upload-shards is for hubs that limit the size of a file: MODEL, which is packed already, is copied
to DIR with every file larger than SIZE (a number with MiB, GiB, MB or GB) cut in shards, and
shards.json beside them with the SHA-256 of each. No server takes such a directory: --join makes the
one that was cut of it, byte for byte, and checks every shard before it writes anything.

Needs no server. Exit codes: 0 done, 1 refused, failed or damaged, 2 wrong usage,
130 interrupted.)";

void CheckNames(const ComponentFormats& formats) {
  std::vector<std::string_view> names = {kUnpackedFormat};
  for (const FormatInfo& info : kFormats) names.push_back(info.name);
  for (const auto& [component, format] : formats) {
    if (std::ranges::find(names, format.format) == names.end()) {
      throw CLI::ValidationError("--format", "there is no format \"" + format.format + "\"" +
                                                 DidYouMean(format.format, names) +
                                                 "; `tightfit-weights formats` lists them");
    }
    if (!IsPackingScope(format.scope)) {
      throw CLI::ValidationError(
          "--scope", "\"" + format.scope + "\" is not attention, linear or linear+conv");
    }
  }
}

// Of several flags that say what to do.
void RefuseBesides(const CLI::App& app, const std::string& what,
                   const std::vector<std::string>& others) {
  for (const std::string& other : others) {
    if (app.count(other) > 0) {
      throw CLI::ValidationError(other, "has no meaning with " + what);
    }
  }
}

const std::vector<std::string> kOnlyOfPacking = {"--format", "--scope", "--budget-mib",
                                                 "--min-psnr", "--exclude"};
constexpr int64_t kLeastShardBytes = int64_t{1} << 20;
constexpr int64_t kMostShardBytes = int64_t{1} << 40;

struct Flags {
  SharedOptions shared;
  std::string format = kDefaultFormat;
  std::optional<double> budget_mib;
  std::optional<double> min_psnr_db;
  std::string scope = kDefaultScope;
  std::vector<std::string> exclude;
  std::string out;
  std::string unpack;
  std::string verify;
  std::optional<int64_t> shard_bytes;
  std::string join;

  void AddTo(CLI::App* app) {
    app->add_option("model", shared.model, "The model directory to pack")->type_name("MODEL");
    app->add_option("--format", format, "How components are packed; see below")
        ->type_name("FORMATS")
        ->capture_default_str();
    app->add_option("--scope", scope, "Which of the UNet's weights: attention, linear, linear+conv")
        ->type_name("NAME")
        ->capture_default_str();
    cli::AddFraction(app, "--budget-mib", &budget_mib,
                     "All weights take at most so many MiB; see below", 0.01, 1e6)
        ->type_name("MIB");
    cli::AddFraction(app, "--min-psnr", &min_psnr_db,
                     "The fewest bytes for images as near as this; see below", 1, 100)
        ->type_name("DB");
    app->add_option("--exclude", exclude,
                    "Leave a module of the UNet, and what lies in it, unpacked; again for more")
        ->type_name("MODULE")
        ->allow_extra_args(false);
    app->add_option("--out", out, "The directory to make")->type_name("DIR");
    app->add_option("--unpack", unpack, "Make fp16 weights of a packed model directory again")
        ->type_name("DIR");
    app->add_option("--verify", verify, "Check every file and tensor of a model directory")
        ->type_name("DIR");
    app->add_option_function<std::string>(
           "--upload-shards",
           [this](const std::string& text) {
             shard_bytes = cli::ValueOrThrow(
                 "--upload-shards", cli::ParseByteSize(text, kLeastShardBytes, kMostShardBytes));
           },
           "Cut the files of a packed model directory for an upload; see below")
        ->type_name("SIZE");
    app->add_option("--join", join, "Make the directory that --upload-shards cut")
        ->type_name("DIR");
    shared.thread_count = std::clamp(ReadCpuShare().thread_count(), 1, 256);
    cli::AddInteger(app, "--threads", &shared.thread_count,
                    "Threads; default: one for each processor", 1, 256)
        ->type_name("N");
    app->add_flag("--json", shared.json,
                  "One JSON document on stdout; keys in client/pack/JSON.md");
    app->add_flag("-q,--quiet", shared.quiet, "No progress");
  }

  Command Values(const CLI::App& app) const {
    SharedOptions values = shared;
    if (app.count("--verify") > 0) {
      RefuseBesides(app, "--verify", {"model", "--unpack", "--join", "--upload-shards", "--out"});
      RefuseBesides(app, "--verify", kOnlyOfPacking);
      values.model = verify;
      return VerifyOptions{.shared = values};
    }
    if (app.count("--unpack") > 0) {
      RefuseBesides(app, "--unpack", {"model", "--join", "--upload-shards"});
      RefuseBesides(app, "--unpack", kOnlyOfPacking);
      values.model = unpack;
    } else if (app.count("--join") > 0) {
      RefuseBesides(app, "--join", {"model", "--upload-shards"});
      RefuseBesides(app, "--join", kOnlyOfPacking);
      values.model = join;
    } else if (shared.model.empty()) {
      throw CLI::ValidationError("MODEL", "is missing: the model directory to pack");
    }
    if (out.empty()) throw CLI::ValidationError("--out", "is missing: the directory to make");
    if (app.count("--unpack") > 0) return UnpackOptions{.shared = values, .out = out};
    if (app.count("--join") > 0) return JoinOptions{.shared = values, .out = out};
    if (shard_bytes.has_value()) {
      RefuseBesides(app, "--upload-shards", kOnlyOfPacking);
      return CutOptions{.shared = values, .out = out, .shard_bytes = *shard_bytes};
    }
    if (budget_mib.has_value()) RefuseBesides(app, "--budget-mib", {"--min-psnr"});
    ComponentFormats formats = cli::ValueOrThrow("--format", ParseComponentFormats(format, scope));
    if (budget_mib.has_value() || min_psnr_db.has_value()) {
      if (app.count("--format") > 0 && formats.contains("unet")) {
        throw CLI::ValidationError("--format",
                                   "names the UNet, whose layers get formats of their "
                                   "own; name other components only");
      }
      formats["unet"] = {.format = kUnpackedFormat, .scope = scope};
    }
    CheckNames(formats);
    return PackOptions{.shared = values,
                       .out = out,
                       .formats = formats,
                       .budget_mib = budget_mib,
                       .min_psnr_db = min_psnr_db,
                       .exclude = exclude};
  }
};

}  // namespace

Command ParseCommandLine(int argc, const char* const* argv) {
  CLI::App app("Pack a model's weights once, so that servers load them as they are.",
               "tightfit pack");
  app.footer(kFooter);
  app.set_version_flag("-V,--version", "tightfit-pack " TIGHTFIT_VERSION);
  Flags flags;
  flags.AddTo(&app);
  try {
    cli::Parse(&app, cli::WithHelpAsOption(argc, argv));
    return flags.Values(app);
  } catch (const CLI::Success& asked) {  // --help, --version
    return ExitNow{app.exit(asked)};
  } catch (const CLI::ParseError& mistake) {
    std::cerr << "error: " << cli::MistakeText(app, mistake) << "\nRun tightfit pack --help.\n";
    return ExitNow{cli::kExitUsage};
  }
}

}  // namespace tightfit::pack
