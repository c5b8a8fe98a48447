// The `tightfit-fidelity` program, which `tightfit fidelity` starts: it links LibTorch, the rest of
// `tightfit` does not.
#include "client/cli/exit_code.h"
#include "client/cli/interrupt_watcher.h"
#include "client/fidelity/command_line.h"
#include "client/fidelity/fidelity_run.h"
#include "client/weights/outcome.h"
#include "client/weights/output_file.h"
#include "client/weights/work_progress.h"
#include "server/image/png.h"

#include <clocale>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <variant>

namespace {

using tightfit::Result;
using tightfit::Status;
using tightfit::fidelity::FidelityOptions;
using tightfit::fidelity::FidelityResult;

Status WriteFile(const std::string& path, const void* bytes, size_t size) {
  TF_ASSIGN_OR_RETURN(const auto file, tightfit::weights::OutputFile::Create(path, ""));
  TF_RETURN_IF_ERROR(file->Write(bytes, size));
  return file->Commit();
}

Status WriteResult(const FidelityResult& result, const std::string& folder) {
  const std::string markdown = ReportMarkdown(result.report);
  const std::string json = ReportJson(result.report);
  TF_ASSIGN_OR_RETURN(const std::vector<uint8_t> png, EncodePng(result.contact_sheet, {}));
  TF_RETURN_IF_ERROR(WriteFile(folder + "/fidelity.md", markdown.data(), markdown.size()));
  TF_RETURN_IF_ERROR(WriteFile(folder + "/fidelity.json", json.data(), json.size()));
  return WriteFile(folder + "/contact-sheet.png", png.data(), png.size());
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
  std::fwrite(text.data(), 1, text.size(), stdout);
  if (interrupts.signal() != 0) return tightfit::weights::Interrupted(interrupts);
  return tightfit::cli::kExitOk;
}

}  // namespace

int main(int argc, char** argv) {
  std::setlocale(LC_CTYPE, "");
  const auto command = tightfit::fidelity::ParseCommandLine(argc, argv);
  if (const auto* exit = std::get_if<tightfit::fidelity::ExitNow>(&command)) return exit->exit_code;
  return RunCommand(std::get<FidelityOptions>(command));
}
