// One command's connection: the client, what to say while connecting or retrying, and how it ends.
#ifndef TIGHTFIT_CLIENT_CLI_SERVER_SESSION_H_
#define TIGHTFIT_CLIENT_CLI_SERVER_SESSION_H_

#include "client/cli/command_line.h"
#include "client/cli/interrupt_watcher.h"
#include "client/cli/json_documents.h"
#include "client/cli/terminal.h"
#include "client/cpp/generation_client.h"
#include "server/base/status.h"

#include <functional>
#include <string>
#include <string_view>

namespace tightfit::cli {

class ServerSession {
 public:
  // `say` shows one line to the user. `interrupts` must outlive the session.
  ServerSession(const SharedOptions& options, const InterruptWatcher& interrupts,
                std::function<void(std::string_view line)> say);

  // Says so where it takes longer than two seconds.
  Status Connect();

  client::GenerationClient& client() { return client_; }
  // The command's timeout, its interrupts, and a line for every retry.
  client::CallOptions Call() const;

  // Tells a failure on stderr (and, with --json, in `document` on stdout) and returns the exit
  // code.
  int Fail(const Status& status, Json document = Json::object()) const;

 private:
  // What the server, which knows no command line, cannot say.
  Status InUsersWords(const Status& status) const;
  // "; did you mean "sdxl"?; the server has sdxl, other", or nothing.
  std::string ModelChoices(const Status& status) const;

  const SharedOptions options_;
  const InterruptWatcher& interrupts_;
  const std::function<void(std::string_view line)> say_;
  mutable client::GenerationClient client_;  // thread-safe
};

// A line on stderr.
void SayOnStderr(std::string_view line);

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_SERVER_SESSION_H_
