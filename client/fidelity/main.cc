// The `tightfit-fidelity` program, which `tightfit fidelity` starts: it links LibTorch, the rest of
// `tightfit` does not.
#include "client/cli/exit_code.h"
#include "client/cli/interrupt_watcher.h"
#include "client/cli/standard_streams.h"
#include "client/fidelity/command_line.h"
#include "client/fidelity/fidelity_run.h"
#include "client/fidelity/sensitivity_run.h"
#include "client/fidelity/sensitivity_summary.h"
#include "client/weights/outcome.h"
#include "client/weights/output_file.h"
#include "client/weights/work_progress.h"
#include "server/image/png.h"

#include <clocale>
#include <filesystem>
#include <string>
#include <system_error>
#include <variant>

namespace {

using tightfit::Result;
using tightfit::Status;
using tightfit::fidelity::FidelityOptions;
using tightfit::fidelity::FidelityResult;

constexpr const char* kFiles[] = {"/fidelity.md", "/fidelity.json", "/contact-sheet.png"};

Status WriteFile(const std::string& path, const void* bytes, size_t size) {
  TF_ASSIGN_OR_RETURN(const auto file, tightfit::weights::OutputFile::Create(path, ""));
  TF_RETURN_IF_ERROR(file->Write(bytes, size));
  return file->Commit();
}

Status WriteResult(const FidelityResult& result, const std::string& folder) {
  const std::string markdown = ReportMarkdown(result.report);
  const std::string json = ReportJson(result.report);
  TF_ASSIGN_OR_RETURN(const std::vector<uint8_t> png, EncodePng(result.contact_sheet, {}));
  TF_RETURN_IF_ERROR(WriteFile(folder + kFiles[0], markdown.data(), markdown.size()));
  TF_RETURN_IF_ERROR(WriteFile(folder + kFiles[1], json.data(), json.size()));
  return WriteFile(folder + kFiles[2], png.data(), png.size());
}

// The run takes minutes to hours: what cannot be written at its end is told before it.
Status CheckOutputs(const std::string& folder) {
  for (const char* file : kFiles) {
    TF_RETURN_IF_ERROR(tightfit::weights::OutputFile::Create(folder + file, "").status());
  }
  return tightfit::OkStatus();
}

// After Ctrl-C, once something was written. Returns the exit code.
int InterruptedInPart(const tightfit::cli::InterruptWatcher& interrupts,
                      const std::string& folder) {
  tightfit::cli::WriteError("interrupted: the rows that are complete are in " + folder + "\n");
  return tightfit::cli::kExitSignalBase + interrupts.signal();
}

int RunSensitivity(const FidelityOptions& options,
                   const tightfit::cli::InterruptWatcher& interrupts) {
  const std::string path = options.out + "/" + tightfit::kSensitivityFile;
  if (const Status status = tightfit::weights::OutputFile::Create(path, "").status();
      !status.ok()) {
    return tightfit::weights::Fail(status, options.json);
  }
  auto progress = tightfit::weights::WorkProgress::OnStderr(options.quiet);
  const auto result = tightfit::fidelity::MeasureSensitivity(
      options, interrupts.token(),
      [&progress](const std::string& label, int64_t done, int64_t count) {
        progress.Show(label, done, count, static_cast<double>(done) / static_cast<double>(count));
      });
  progress.Finish();
  if (!result.ok()) {
    if (interrupts.signal() != 0) {
      tightfit::cli::WriteError("interrupted: the same command goes on with what is in " +
                                options.out + "/sensitivity.jsonl\n");
      return tightfit::cli::kExitSignalBase + interrupts.signal();
    }
    return tightfit::weights::Fail(result.status(), options.json);
  }
  const std::string text = tightfit::SensitivityText(*result);
  Status written = WriteFile(path, text.data(), text.size());
  if (written.ok() && options.store) {
    written = tightfit::fidelity::StoreSensitivity(options.model, *result);
  }
  if (!written.ok()) return tightfit::weights::Fail(written, options.json);
  tightfit::cli::WriteOutput(options.json ? text
                                          : tightfit::fidelity::SensitivityReport(*result, path));
  return tightfit::cli::kExitOk;
}

int RunCommand(const FidelityOptions& options) {
  // Before any other thread, which inherits the blocked signals.
  const tightfit::cli::InterruptWatcher interrupts;
  std::error_code error;
  std::filesystem::create_directories(options.out, error);
  if (error) {
    return tightfit::weights::Fail({tightfit::StatusCode::kInvalidArgument, "CANNOT_WRITE",
                                    "--out " + options.out + ": " + error.message()},
                                   options.json);
  }
  if (options.sensitivity) return RunSensitivity(options, interrupts);
  if (const Status status = CheckOutputs(options.out); !status.ok()) {
    return tightfit::weights::Fail(status, options.json);
  }
  auto progress = tightfit::weights::WorkProgress::OnStderr(options.quiet);
  const Result<FidelityResult> result = RunFidelity(
      options, interrupts.token(),
      [&progress](const std::string& label, int64_t done, int64_t count) {
        progress.Show(label, done, count, static_cast<double>(done) / static_cast<double>(count));
      });
  progress.Finish();
  if (!result.ok()) {
    if (interrupts.signal() != 0) return tightfit::weights::Interrupted(interrupts);
    return tightfit::weights::Fail(result.status(), options.json);
  }
  const Status written = WriteResult(*result, options.out);
  if (!written.ok()) return tightfit::weights::Fail(written, options.json);
  const std::string text =
      options.json ? ReportJson(result->report) : ReportMarkdown(result->report);
  tightfit::cli::WriteOutput(text);
  if (interrupts.signal() != 0) return InterruptedInPart(interrupts, options.out);
  return tightfit::cli::kExitOk;
}

}  // namespace

int main(int argc, char** argv) {
  std::setlocale(LC_CTYPE, "");
  tightfit::cli::GuardStandardStreams();
  const auto command = tightfit::fidelity::ParseCommandLine(argc, argv);
  if (const auto* exit = std::get_if<tightfit::fidelity::ExitNow>(&command)) {
    return tightfit::cli::EndOfOutput(exit->exit_code);
  }
  return tightfit::cli::EndOfOutput(RunCommand(std::get<FidelityOptions>(command)));
}
