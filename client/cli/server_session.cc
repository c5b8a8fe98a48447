#include "client/cli/server_session.h"

#include "client/cli/error_report.h"
#include "client/cli/exit_code.h"
#include "client/cli/measure_text.h"
#include "client/cli/standard_streams.h"
#include "server/base/closest_name.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace tightfit::cli {
namespace {

constexpr size_t kMaxModelsShown = 20;

}  // namespace
void SayOnStderr(std::string_view line) { WriteError(fmt::format("{}\n", line)); }

ServerSession::ServerSession(const SharedOptions& options, const InterruptWatcher& interrupts,
                             std::function<void(std::string_view)> say)
    : options_(options),
      interrupts_(interrupts),
      say_(std::move(say)),
      client_({.server = options.server,
               .tls = options.tls,
               .token = options.token,
               .allow_plaintext_token = options.allow_plaintext,
               .connect_timeout = options.connect_timeout}) {}

Status ServerSession::Connect() {
  const std::chrono::milliseconds limit =
      std::min(options_.connect_timeout, options_.timeout.value_or(options_.connect_timeout));
  return client_.Connect(limit, interrupts_.token(),
                         {.waits_for_server = options_.wait, .on_slow = [this] {
                            say_(fmt::format("connecting to {} ...", options_.server));
                          }});
}

client::CallOptions ServerSession::Call() const {
  return {
      .timeout = options_.timeout,
      .cancel = interrupts_.token(),
      .on_retry =
          [this](const Status& cause, std::chrono::milliseconds delay) {
            say_(Printable(fmt::format("{} [{}]; trying again in {}", cause.message(),
                                       cause.reason(), DurationText(delay))));
          },
  };
}

int ServerSession::Fail(const Status& status, Json document) const {
  if (options_.json) {
    document["error"] = ToJson(status);
    WriteOutput(Document(document));
  }
  if (status.code() == StatusCode::kCancelled && interrupts_.signal() != 0) {
    WriteError("interrupted\n");
    return kExitSignalBase + interrupts_.signal();
  }
  WriteError(ErrorLines(InUsersWords(status), Terminal(STDERR_FILENO).style()));
  return ExitCodeOf(status);
}

Status ServerSession::InUsersWords(const Status& status) const {
  if (status.reason() == "INVALID_CREDENTIALS") {
    return {status.code(), status.reason(),
            options_.token.empty() ? "no token was sent, and this server takes calls with one only"
                                   : "the server does not know this token"};
  }
  const std::vector<FieldViolation>& violations = status.field_violations();
  const bool is_about_model = status.reason() == "MODEL_NOT_FOUND" ||
                              (violations.size() == 1 && violations.front().field == "model");
  if (!is_about_model) return status;
  const std::string choices = ModelChoices(status);
  if (violations.empty()) return {status.code(), status.reason(), status.message() + choices};
  return Status(status).WithFieldViolations(
      {{violations.front().field, violations.front().description + choices}});
}

std::string ServerSession::ModelChoices(const Status& status) const {
  // A moment is enough for a server that has just answered.
  const Result<std::vector<client::Model>> models =
      client_.ListModels({.timeout = std::chrono::seconds(2), .cancel = {}, .on_retry = {}});
  if (!models.ok() || models->empty()) return "";
  std::vector<std::string_view> names;
  for (const client::Model& model : *models) names.push_back(model.name);
  const auto wanted = status.metadata().find("resource_name");
  std::string choices = wanted == status.metadata().end() ? "" : DidYouMean(wanted->second, names);
  const size_t shown_count = std::min(names.size(), kMaxModelsShown);
  choices += choices.empty() ? "; the server has " : " The server has ";
  for (size_t i = 0; i < shown_count; ++i) choices += (i > 0 ? ", " : "") + std::string(names[i]);
  if (shown_count < names.size()) {
    choices += fmt::format(" and {} more", names.size() - shown_count);
  }
  return choices;
}

}  // namespace tightfit::cli
