// The command line of `tightfit` as values.
#ifndef TIGHTFIT_CLIENT_CLI_COMMAND_LINE_H_
#define TIGHTFIT_CLIENT_CLI_COMMAND_LINE_H_

#include "client/cpp/generation_client.h"
#include "client/cpp/generation_types.h"
#include "client/cpp/parameters_text.h"
#include "client/cpp/server_types.h"

#include <chrono>
#include <optional>
#include <string>
#include <variant>

namespace tightfit::cli {

// What every command takes.
struct SharedOptions {
  std::string server = "127.0.0.1:50051";
  std::optional<client::TlsOptions> tls;
  std::string token;
  bool allow_plaintext = false;
  std::chrono::milliseconds connect_timeout{5000};
  bool wait = false;  // for a server that does not listen yet, as long as connect_timeout
  std::optional<std::chrono::milliseconds> timeout;  // of the call
  bool json = false;
};

struct GenerateOptions {
  SharedOptions shared;
  client::ImageRequest request;
  // The image to draw again; its request is a part of `request` already.
  std::optional<client::DrawnImage> drawn;
  bool model_is_chosen = true;  // false: the server is asked for the image's
  std::optional<std::string> output;
  bool quiet = false;
  bool estimate = false;  // tell what it would take instead of drawing
};

struct ModelsOptions {
  SharedOptions shared;
  std::string name;  // empty: all models
  bool watch = false;
  bool layers = false;  // of one model: each layer
};

struct LoadOptions {
  SharedOptions shared;
  std::string name;
};

struct UnloadOptions {
  SharedOptions shared;
  std::string name;
  bool force = false;
};

struct UpdateOptions {
  SharedOptions shared;
  std::string name;
  client::ModelUpdate update;
};

struct InfoOptions {
  SharedOptions shared;
};

// The program has nothing more to do than to end: after --help, --version or a mistake, all
// printed.
struct ExitNow {
  int exit_code = 0;
};

using Command = std::variant<GenerateOptions, ModelsOptions, LoadOptions, UnloadOptions,
                             UpdateOptions, InfoOptions, ExitNow>;

// Reads the prompt from stdin where it is "-". `TIGHTFIT_SERVER`,
// `TIGHTFIT_TOKEN`, `TIGHTFIT_TLS_CA`, `TIGHTFIT_TLS_CERT` and `TIGHTFIT_TLS_KEY` stand in for
// absent options.
Command ParseCommandLine(int argc, const char* const* argv);

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_COMMAND_LINE_H_
