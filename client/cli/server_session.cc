#include "client/cli/server_session.h"

#include "client/cli/error_report.h"
#include "client/cli/exit_code.h"
#include "client/cli/measure_text.h"
#include "client/cli/standard_streams.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace tightfit::cli {
namespace {

constexpr std::chrono::milliseconds kSilence{2000};

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
  Status status = client_.Connect(std::min(limit, kSilence), interrupts_.token());
  if (status.reason() != client::kCannotConnect || limit <= kSilence) return status;
  say_(fmt::format("connecting to {} ...", options_.server));
  status = client_.Connect(limit - kSilence, interrupts_.token());
  if (status.reason() != client::kCannotConnect) return status;
  return {status.code(), status.reason(),
          fmt::format("cannot connect to {} within {}", options_.server, DurationText(limit))};
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
  WriteError(ErrorLines(status, Terminal(STDERR_FILENO).style()));
  return ExitCodeOf(status);
}

}  // namespace tightfit::cli
