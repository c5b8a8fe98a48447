#include "client/cli/commands.h"
#include "client/cli/exit_code.h"
#include "client/cli/json_documents.h"
#include "client/cli/measure_text.h"
#include "client/cli/server_session.h"
#include "client/cli/standard_streams.h"
#include "client/cli/terminal.h"

#include <fmt/format.h>

#include <functional>
#include <string>

namespace tightfit::cli {
namespace {

std::string Sentence(const client::Model& model) {
  std::string text = fmt::format("{}: {}", model.name, client::ModelStateName(model.state));
  if (model.state == client::ModelState::kResident) {
    text += fmt::format(", weights {}", BytesText(model.weight_bytes));
  }
  if (model.pinned) text += ", pinned";
  if (model.keep_alive.count() > 0) {
    text += fmt::format(", goes when unused for {}", DurationText(model.keep_alive));
  }
  if (model.priority != 0) text += fmt::format(", priority {}", model.priority);
  return text;
}

int RunCall(const SharedOptions& shared, const InterruptWatcher& interrupts,
            const std::function<Result<client::Model>(ServerSession&)>& call) {
  ServerSession session(shared, interrupts, SayOnStderr);
  if (Status status = session.Connect(); !status.ok()) return session.Fail(status);
  const Result<client::Model> model = call(session);
  if (!model.ok()) return session.Fail(model.status());
  if (shared.json) {
    WriteOutput(Document({{"model", ToJson(*model)}}));
  } else {
    WriteOutput(fmt::format("{}\n", Printable(Sentence(*model))));
  }
  return kExitOk;
}

}  // namespace

int Run(const LoadOptions& options, const InterruptWatcher& interrupts) {
  return RunCall(options.shared, interrupts, [&](ServerSession& session) {
    if (!options.shared.json) SayOnStderr("loading " + options.name);
    return session.client().LoadModel(options.name, session.Call());
  });
}

int Run(const UnloadOptions& options, const InterruptWatcher& interrupts) {
  return RunCall(options.shared, interrupts, [&](ServerSession& session) {
    return session.client().UnloadModel(options.name, options.force, session.Call());
  });
}

int Run(const UpdateOptions& options, const InterruptWatcher& interrupts) {
  return RunCall(options.shared, interrupts, [&](ServerSession& session) {
    return session.client().UpdateModel(options.name, options.update, session.Call());
  });
}

}  // namespace tightfit::cli
