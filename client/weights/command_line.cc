#include "client/weights/command_line.h"

#include "client/cli/exit_code.h"
#include "client/cli/number_flags.h"
#include "client/cli/usage_mistake.h"
#include "client/weights/weight_report.h"
#include "kernels/packed_header.h"
#include "server/base/cpu_share.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <functional>
#include <iostream>
#include <iterator>
#include <string_view>

namespace tightfit::weights {
namespace {

constexpr const char* kMainFooter = R"(Examples:
  tightfit-weights report unet.safetensors --summary      which format costs how much
  tightfit-weights formats                                every format, its bits and range
  tightfit-weights encode --format e2m5r --shape 1280x1280 w.fp16 w.tfw
  tightfit-weights decode w.tfw w.fp16

Every command takes --help. Needs no server. Exit codes: 0 done, 1 refused or failed, 2 wrong usage,
130 interrupted.)";

constexpr const char* kEncodeFooter = R"(Examples:
  tightfit-weights encode --format hf8 --shape 1280x1280 w.fp16 w.tfw
  tightfit-weights encode --format e3m4 --shape 320x3x3x4 conv.fp16 conv.tfw
  python -c 'import numpy as n; n.load("w.npy").astype("<f2").tofile("w.fp16")'   makes an IN

IN holds fp16 weights and nothing else: little-endian, row after row, as many as the shape says. The
first dimension is the rows, to which scales belong; a convolution is [out, height, width, in]. OUT
holds a header of 128 bytes with shape and SHA-256, then the packed tensor (kernels/FORMATS.md).
OUT is replaced once it is complete. What the format cannot hold is refused, with counts.)";

constexpr const char* kDecodeFooter = R"(Examples:
  tightfit-weights decode w.tfw w.fp16
  tightfit-weights decode w.tfw w.bf16 --to bf16
  tightfit-weights decode w.tfw w.fp32 --to fp32
  python -c 'import numpy as n; print(n.fromfile("w.fp16", "<f2"))'

OUT gets the weights and nothing else, little-endian, row after row. fp16 and fp32 are the weights'
values, bf16 rounds them to nearest. A damaged IN is refused.)";

constexpr const char* kReportFooter = R"(Examples:
  tightfit-weights report unet.safetensors                       each tensor, then all of them
  tightfit-weights report unet.safetensors --summary --bits 8    all tensors only
  tightfit-weights report unet.safetensors --scope attention --formats e2m5r,hf8,fp8-e4m3
  tightfit-weights report unet.safetensors --name '*.attn1.to_q.*' --bits 6
  tightfit-weights report unet.safetensors --summary --json | jq .all_tensors.best

Encodes and decodes every weight and tells what that costs: signal to quantization noise, and the
bytes that are really stored. A class N of --bits is the formats with codes of more than N-1 and at
most N bits and with scales of less than a quarter of a bit. Matrices of names that end in
_embedding.weight are left out, as a server leaves them. bf16 and fp32 are rounded to fp16 first.)";

// "a,b,c" to its parts.
std::vector<std::string> Split(const std::string& text, char separator) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == separator) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

WeightFormat ParseFormat(const std::string& flag, const std::string& name) {
  const std::optional<WeightFormat> format = FormatByName(name);
  if (!format.has_value()) {
    throw CLI::ValidationError(
        flag, "there is no format \"" + name + "\"; `tightfit-weights formats` lists them");
  }
  return *format;
}

std::vector<int64_t> ParseShape(const std::string& text) {
  std::vector<int64_t> shape;
  for (const std::string& part : Split(text, 'x')) {
    shape.push_back(cli::IntegerOrThrow<int64_t>("--shape", part, 1, kMaxTensorWeights));
  }
  if (!PackedRowsAndColumns(shape).has_value()) {
    throw CLI::ValidationError(
        "--shape", "\"" + text + "\" must have 1 to 4 dimensions and less than 2^32 weights");
  }
  return shape;
}

void AddThreads(CLI::App* command, int* thread_count) {
  *thread_count = std::clamp(ReadCpuShare().thread_count(), 1, 256);
  cli::AddInteger(command, "--threads", thread_count, "Threads; default: one for each processor", 1,
                  256)
      ->type_name("N");
}

struct EncodeFlags {
  EncodeOptions options;

  void AddTo(CLI::App* command) {
    command->add_option("in", options.input, "Raw fp16 weights")->type_name("IN")->required();
    command->add_option("out", options.output, "The packed file")->type_name("OUT")->required();
    command
        ->add_option_function<std::string>(
            "--format",
            [this](const std::string& name) { options.format = ParseFormat("--format", name); },
            "Format; `tightfit-weights formats` lists them")
        ->type_name("NAME")
        ->required();
    command
        ->add_option_function<std::string>(
            "--shape", [this](const std::string& text) { options.shape = ParseShape(text); },
            "Shape, 1 to 4 dimensions")
        ->type_name("AxB")
        ->required();
    AddThreads(command, &options.thread_count);
    command->add_flag("-q,--quiet", options.quiet, "No progress, no summary: only errors");
    command->footer(kEncodeFooter);
  }
};

struct DecodeFlags {
  DecodeOptions options;

  void AddTo(CLI::App* command) {
    command->add_option("in", options.input, "A packed file")->type_name("IN")->required();
    command->add_option("out", options.output, "The raw weights")->type_name("OUT")->required();
    command
        ->add_option_function<std::string>(
            "--to",
            [this](const std::string& name) {
              if (name == "fp16") {
                options.type = DecodedType::kFp16;
              } else if (name == "bf16") {
                options.type = DecodedType::kBf16;
              } else if (name == "fp32") {
                options.type = DecodedType::kFp32;
              } else {
                throw CLI::ValidationError("--to", "\"" + name + "\" is not fp16, bf16 or fp32");
              }
            },
            "fp16, bf16 or fp32; default: fp16")
        ->type_name("TYPE");
    command->add_flag("-q,--quiet", options.quiet, "No progress, no summary: only errors");
    command->footer(kDecodeFooter);
  }
};

struct ReportFlags {
  ReportOptions options;

  void AddTo(CLI::App* command) {
    for (const FormatInfo& info : kFormats) options.formats.push_back(info.format);
    options.bits = {6, 8, 10, 12};
    command->add_option("file", options.input, "A safetensors file")->type_name("FILE")->required();
    command
        ->add_option("--scope", options.filter.scope,
                     "attention, linear or linear+conv, as a server's scope")
        ->type_name("NAME")
        ->capture_default_str();
    command
        ->add_option("--name", options.filter.name_pattern,
                     "Only tensors of this name; * matches anything")
        ->type_name("PATTERN");
    command
        ->add_option_function<std::string>(
            "--formats",
            [this](const std::string& text) {
              options.formats.clear();
              for (const std::string& name : Split(text, ',')) {
                const WeightFormat format = ParseFormat("--formats", name);
                const bool is_new = std::find(options.formats.begin(), options.formats.end(),
                                              format) == options.formats.end();
                if (is_new) options.formats.push_back(format);
              }
            },
            "Only these, separated by commas; default: all")
        ->type_name("NAMES");
    command
        ->add_option_function<std::string>(
            "--bits",
            [this](const std::string& text) {
              options.bits.clear();
              for (const std::string& part : Split(text, ',')) {
                const auto bits = cli::IntegerOrThrow<int>("--bits", part, 1, 16);
                const bool is_class =
                    std::any_of(kFormats.begin(), kFormats.end(),
                                [bits](const FormatInfo& info) { return IsInClass(info, bits); });
                if (!is_class) {
                  throw CLI::ValidationError("--bits", "no format has codes of " + part + " bits");
                }
                options.bits.push_back(bits);
              }
            },
            "Classes to find the best format of; default: 6,8,10,12")
        ->type_name("NUMBERS");
    command->add_flag("--summary", options.summary, "Leave out the list of tensors");
    command->add_flag("--json", options.json,
                      "One JSON document on stdout; keys in client/weights/JSON.md");
    AddThreads(command, &options.thread_count);
    command->add_flag("-q,--quiet", options.quiet, "No progress");
    command->footer(kReportFooter);
  }

  ReportOptions Values() const {
    const std::string& scope = options.filter.scope;
    if (std::find(std::begin(kScopes), std::end(kScopes), scope) == std::end(kScopes)) {
      throw CLI::ValidationError("--scope",
                                 "\"" + scope + "\" is not attention, linear or linear+conv");
    }
    ReportOptions values = options;
    // A class whose formats were not asked for has no best one.
    std::erase_if(values.bits, [&values](int bits) {
      return std::none_of(values.formats.begin(), values.formats.end(),
                          [bits](WeightFormat format) { return IsInClass(InfoOf(format), bits); });
    });
    return values;
  }
};

}  // namespace

Command ParseCommandLine(int argc, const char* const* argv) {
  CLI::App app("Pack weights into compact floats, unpack them, and see what each format costs.",
               "tightfit-weights");
  app.footer(kMainFooter);
  app.set_version_flag("-V,--version", "tightfit-weights " TIGHTFIT_VERSION);
  app.require_subcommand(1);

  ReportFlags report;
  CLI::App* report_command =
      app.add_subcommand("report", "Measure what each format makes of a model's weights");
  report.AddTo(report_command);

  FormatsOptions formats;
  CLI::App* formats_command = app.add_subcommand("formats", "List the formats");
  formats_command->add_flag("--json", formats.json,
                            "One JSON document on stdout; keys in client/weights/JSON.md");
  formats_command->footer(
      "Examples:\n  tightfit-weights formats\n"
      "  tightfit-weights formats --json | jq -r '.formats[].name'");

  EncodeFlags encode;
  CLI::App* encode_command = app.add_subcommand("encode", "Pack the raw fp16 weights of a tensor");
  encode.AddTo(encode_command);

  DecodeFlags decode;
  CLI::App* decode_command = app.add_subcommand("decode", "Unpack a tensor into raw weights");
  decode.AddTo(decode_command);

  try {
    cli::Parse(&app, cli::WithHelpAsOption(argc, argv));
    if (report_command->parsed()) return report.Values();
    if (formats_command->parsed()) return formats;
    if (encode_command->parsed()) return encode.options;
    return decode.options;
  } catch (const CLI::Success& asked) {  // --help, --version
    return ExitNow{app.exit(asked)};
  } catch (const CLI::ParseError& mistake) {
    std::string help = "tightfit-weights ";
    for (const CLI::App* command : app.get_subcommands()) help += command->get_name() + " ";
    std::cerr << "error: " << cli::MistakeText(app, mistake) << "\nRun " << help << "--help.\n";
    return ExitNow{cli::kExitUsage};
  }
}

}  // namespace tightfit::weights
