// `tightfit models`: all models in a table, or one in detail.
#include "client/cli/commands.h"
#include "client/cli/exit_code.h"
#include "client/cli/json_documents.h"
#include "client/cli/model_report.h"
#include "client/cli/server_session.h"
#include "client/cli/standard_streams.h"
#include "client/cli/terminal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <utility>
#include <vector>

namespace tightfit::cli {
namespace {

int RunList(const ModelsOptions& options, ServerSession& session) {
  const Result<std::vector<client::Model>> models = session.client().ListModels(session.Call());
  if (!models.ok()) return session.Fail(models.status());
  if (options.shared.json) {
    Json document = {{"models", Json::array()}};
    for (const client::Model& model : *models) document["models"].push_back(ToJson(model));
    WriteOutput(Document(document));
  } else {
    const Terminal terminal(STDOUT_FILENO);
    WriteOutput(ModelTable(*models, terminal.style(), terminal.FoldColumns()));
  }
  return kExitOk;
}

int RunOne(const ModelsOptions& options, ServerSession& session) {
  const Result<client::Model> model = session.client().GetModel(options.name, session.Call());
  if (!model.ok()) return session.Fail(model.status());
  if (options.shared.json) {
    Json json = ToJson(*model);
    if (options.layers) AddLayers(*model, &json);
    WriteOutput(Document({{"model", std::move(json)}}));
  } else {
    const Terminal terminal(STDOUT_FILENO);
    WriteOutput(options.layers ? LayerTable(*model, terminal.style(), terminal.FoldColumns())
                               : ModelReport(*model, terminal.style(), terminal.FoldColumns()));
  }
  return kExitOk;
}

}  // namespace

int Run(const ModelsOptions& options, const InterruptWatcher& interrupts) {
  ServerSession session(options.shared, interrupts, SayOnStderr);
  if (Status status = session.Connect(); !status.ok()) return session.Fail(status);
  if (options.watch) return WatchModels(options, session);
  return options.name.empty() ? RunList(options, session) : RunOne(options, session);
}

}  // namespace tightfit::cli
