// `tightfit generate`: progress on stderr, file names or JSON on stdout.
#include "client/cli/commands.h"
#include "client/cli/error_report.h"
#include "client/cli/exit_code.h"
#include "client/cli/flag_names.h"
#include "client/cli/image_files.h"
#include "client/cli/measure_text.h"
#include "client/cli/progress_display.h"
#include "client/cli/redraw.h"
#include "client/cli/server_session.h"
#include "client/cli/standard_streams.h"
#include "client/cli/terminal.h"
#include "client/cli/warning_lines.h"
#include "server/base/strength.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

namespace tightfit::cli {
namespace {

struct SavedImage {
  client::Image image;  // without its content
  int64_t size_bytes = 0;
  std::string file;
};

// What came of one request, filled in as its events arrive.
struct Outcome {
  std::vector<std::string> notes;  // of the image that is drawn again
  std::optional<client::Started> started;
  std::vector<SavedImage> images;
  std::optional<client::Timings> timings;
  std::vector<client::PromptTokens> prompt_tokens;
  Status write_failure;
};

ProgressMode ModeFor(const GenerateOptions& options, const Terminal& terminal) {
  if (options.quiet) return ProgressMode::kQuiet;
  return terminal.is_interactive() ? ProgressMode::kBar : ProgressMode::kLines;
}

Json OutcomeJson(const Outcome& outcome) {
  Json json = {{"request_id", nullptr},
               {"parameters", nullptr},
               {"warnings", Json::array()},
               {"notes", outcome.notes}};
  if (outcome.started.has_value()) {
    json["warnings"] = ToJson(outcome.started->warnings);
    json["request_id"] = outcome.started->request_id;
    json["parameters"] = ToJson(outcome.started->parameters);
  }
  json["images"] = Json::array();
  for (const SavedImage& saved : outcome.images) {
    json["images"].push_back({{"index", saved.image.index},
                              {"seed", saved.image.seed},
                              {"file", saved.file},
                              {"mime_type", saved.image.mime_type},
                              {"width_px", outcome.started->parameters.width_px},
                              {"height_px", outcome.started->parameters.height_px},
                              {"size_bytes", saved.size_bytes}});
  }
  json["prompt_tokens"] = Json::array();
  for (const client::PromptTokens& prompt : outcome.prompt_tokens) {
    json["prompt_tokens"].push_back(ToJson(prompt));
  }
  json["timings"] = outcome.timings.has_value() ? ToJson(*outcome.timings) : Json(nullptr);
  return json;
}

// A line for each prompt that was cut off.
void WarnOfCutPrompts(const Outcome& outcome, const TextStyle& style, ProgressDisplay* display) {
  for (const client::PromptTokens& prompt : outcome.prompt_tokens) {
    if (prompt.used_token_count == prompt.token_count || prompt.used_token_count == 0) continue;
    display->Warn(WarningLine(
        fmt::format("{}: the first {} of {} tokens were used", WithFlagNames(prompt.field),
                    prompt.used_token_count, prompt.token_count),
        style));
  }
}

// Of an image that is drawn over only the last ones are done.
int32_t StepsDone(const client::ResolvedParameters& parameters) {
  if (parameters.strength <= 0.0) return parameters.step_count;
  return StepsOfStrength(parameters.strength, parameters.step_count);
}

std::string Summary(const Outcome& outcome) {
  const client::ResolvedParameters& parameters = outcome.started->parameters;
  const client::Timings& timings = *outcome.timings;
  std::string line = fmt::format("{} in {}", CountedText(std::ssize(outcome.images), "image"),
                                 DurationText(timings.total));
  if (const int32_t steps = StepsDone(parameters); steps > 0) {
    line += fmt::format(" ({} steps in {}, {})", steps, DurationText(timings.denoise),
                        StepTimeText(timings.denoise / steps));
  }
  if (timings.queued > std::chrono::milliseconds(100)) {
    line += fmt::format(", queued {}", DurationText(timings.queued));
  }
  return line;
}

// Where the images go, where nothing else is wanted in the same place.
Result<ImageFiles> FilesFor(const GenerateOptions& options) {
  TF_ASSIGN_OR_RETURN(ImageFiles files, ImageFiles::Create(options.output));
  if (files.is_stdout() && options.shared.json) {
    return InvalidArgument("stdout takes the image or --json's document, not both");
  }
  if (files.is_stdout() && options.request.image_count.value_or(1) > 1) {
    return InvalidArgument("stdout takes one image; name a file or a folder for several");
  }
  return files;
}

}  // namespace

int Run(const GenerateOptions& options, const InterruptWatcher& interrupts) {
  if (options.estimate) {
    ServerSession session(options.shared, interrupts, SayOnStderr);
    if (Status status = session.Connect(); !status.ok()) return session.Fail(status);
    return RunEstimate(options, session);
  }
  const Terminal terminal(STDERR_FILENO);
  Result<ImageFiles> files = FilesFor(options);
  if (!files.ok()) {
    if (options.shared.json) {
      WriteOutput(Document({{"error", ToJson(files.status())}}));
    }
    WriteError(ErrorLines(files.status(), terminal.style()));
    return kExitUsage;
  }

  ProgressDisplay display(
      ModeFor(options, terminal), terminal.style(), [&] { return terminal.WidthColumns(); },
      [](std::string_view text) { WriteError(text); });
  ServerSession session(options.shared, interrupts,
                        [&display](std::string_view line) { display.Say(line); });
  Outcome outcome;
  if (Status status = session.Connect(); !status.ok()) {
    display.Finish();
    return session.Fail(status, OutcomeJson(outcome));
  }
  Result<PreparedRequest> prepared = Prepare(options, session);
  if (!prepared.ok()) {
    display.Finish();
    return session.Fail(prepared.status(), OutcomeJson(outcome));
  }
  outcome.notes = std::move(prepared->notes);
  for (const std::string& note : outcome.notes) display.Warn(NoteLine(note, terminal.style()));

  // Both an interrupt and a full disk stop the call.
  std::stop_source stop;
  const std::stop_callback on_interrupt(interrupts.token(), [&stop] { stop.request_stop(); });
  client::CallOptions call = session.Call();
  call.cancel = stop.get_token();
  Status status = session.client().StreamImages(
      prepared->request,
      [&](client::Event event) {
        display.OnEvent(event);
        if (auto* started = std::get_if<client::Started>(&event)) {
          outcome.started = std::move(*started);
          for (const client::RequestWarning& warning : outcome.started->warnings) {
            display.Warn(WarningLine(warning, terminal.style()));
          }
        } else if (auto* image = std::get_if<client::Image>(&event)) {
          Result<std::string> file = files->Write(*image, outcome.started->parameters.image_count);
          if (!file.ok()) {
            outcome.write_failure = file.status();
            stop.request_stop();
            return;
          }
          const int64_t size_bytes = std::ssize(image->content);
          image->content.clear();
          outcome.images.push_back({std::move(*image), size_bytes, *std::move(file)});
        } else if (auto* completed = std::get_if<client::Completed>(&event)) {
          outcome.timings = completed->timings;
          outcome.prompt_tokens = std::move(completed->prompt_tokens);
        }
      },
      call);
  display.Finish();

  if (!options.shared.json && !files->is_stdout()) {
    for (const SavedImage& saved : outcome.images) WriteOutput(fmt::format("{}\n", saved.file));
  }
  if (!outcome.write_failure.ok()) status = outcome.write_failure;
  if (!status.ok()) return session.Fail(status, OutcomeJson(outcome));
  if (options.shared.json) WriteOutput(Document(OutcomeJson(outcome)));
  WarnOfCutPrompts(outcome, terminal.style(), &display);
  display.Say(Summary(outcome));
  return kExitOk;
}

}  // namespace tightfit::cli
