// GenerationClient: a tightfit server from C++, without gRPC or protobuf in sight. Start here.
//
//   tightfit::client::GenerationClient client({.server = "127.0.0.1:50051"});
//   tightfit::Status status = client.StreamImages({.prompt = "red apple"}, [](auto event) {
//     if (auto* image = std::get_if<tightfit::client::Image>(&event)) Save(image->content);
//   });
#ifndef TIGHTFIT_CLIENT_CPP_GENERATION_CLIENT_H_
#define TIGHTFIT_CLIENT_CPP_GENERATION_CLIENT_H_

#include "client/cpp/generation_types.h"
#include "client/cpp/server_types.h"
#include "server/base/status.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace tightfit::client {

// PEM texts, not files.
struct TlsOptions {
  std::string root_certificates;  // who may vouch for the server; empty: gRPC's and the system's
  // For a server that asks for a client certificate (mTLS): both or neither.
  std::string certificate_chain;
  std::string private_key;
};

struct ClientOptions {
  std::string server = "127.0.0.1:50051";  // host:port, or any gRPC target
  std::optional<TlsOptions> tls;           // nullopt: plain text
  // Sent with every call as `authorization: Bearer TOKEN`; empty: none. Over plain text it goes to
  // this machine alone, unless allow_plaintext_token is set.
  std::string token;
  bool allow_plaintext_token = false;
  std::chrono::milliseconds connect_timeout{5000};
  // Only UNAVAILABLE is retried, and a stream only before its first event. 1 = never.
  int32_t max_attempts = 4;
  // Doubled at each retry unless the server names a delay; the larger one is cut at
  // max_retry_delay.
  std::chrono::milliseconds first_retry_delay{250};
  std::chrono::milliseconds max_retry_delay{5000};
};

struct CallOptions {
  std::optional<std::chrono::milliseconds> timeout;  // of the whole call, retries included
  std::stop_token cancel;                            // may be requested from any thread
  // Called before waiting `delay` for the next attempt.
  std::function<void(const Status& cause, std::chrono::milliseconds delay)> on_retry;
};

// Reasons of failures that are found on this side; all others are the server's.
inline constexpr std::string_view kCannotConnect = "CANNOT_CONNECT";       // UNAVAILABLE
inline constexpr std::string_view kConnectionLost = "CONNECTION_LOST";     // UNAVAILABLE
inline constexpr std::string_view kBrokenStream = "BROKEN_STREAM";         // DATA_LOSS
inline constexpr std::string_view kTlsFailed = "TLS_FAILED";               // UNAVAILABLE
inline constexpr std::string_view kNotGrpc = "NOT_GRPC";                   // UNAVAILABLE
inline constexpr std::string_view kBadCredentials = "BAD_CREDENTIALS";     // INVALID_ARGUMENT
inline constexpr std::string_view kNotTightfit = "NOT_A_TIGHTFIT_SERVER";  // UNIMPLEMENTED

struct ConnectOptions {
  // Where nobody listens yet: false ends it at once.
  bool waits_for_server = true;
  // Called once, on the thread of Connect, where it takes longer than two seconds.
  std::function<void()> on_slow;
};

// Thread-safe: calls may run at the same time and share one connection. Every call waits up to
// connect_timeout for the connection, so no other call is needed first. A failed call's Status
// holds the server's code, reason, message, field violations and retry delay.
class GenerationClient {
 public:
  explicit GenerationClient(ClientOptions options = {});
  ~GenerationClient();
  GenerationClient(const GenerationClient&) = delete;
  GenerationClient& operator=(const GenerationClient&) = delete;

  // OK once connected; UNAVAILABLE/CANNOT_CONNECT after `timeout`, UNAVAILABLE/TLS_FAILED as soon
  // as both sides are seen not to agree on encryption, UNAVAILABLE/NOT_GRPC as soon as something
  // else than a gRPC server is seen to answer, INVALID_ARGUMENT/BAD_CREDENTIALS, or CANCELLED.
  Status Connect(std::chrono::milliseconds timeout, std::stop_token cancel = {},
                 const ConnectOptions& options = {});

  // Calls `on_event` on this thread for every event and returns how the stream ended. OK only after
  // Completed and every announced image; DATA_LOSS where the server broke that order. Images that
  // were passed on before a failure are whole.
  Status StreamImages(const ImageRequest& request, const std::function<void(Event)>& on_event,
                      const CallOptions& call = {});

  // All pages.
  Result<std::vector<Model>> ListModels(const CallOptions& call = {});
  Result<Model> GetModel(const std::string& name, const CallOptions& call = {});
  // Calls `on_model` on this thread for every model, then for each change, until cancelled. A watch
  // whose server went away begins again, with every model, when the server is back.
  Status WatchModels(const std::function<void(Model)>& on_model, const CallOptions& call = {});
  // Return once the model is there, gone, changed.
  Result<Model> LoadModel(const std::string& name, const CallOptions& call = {});
  Result<Model> UnloadModel(const std::string& name, bool force, const CallOptions& call = {});
  Result<Model> UpdateModel(const std::string& name, const ModelUpdate& update,
                            const CallOptions& call = {});
  // What the request would take; nothing is done.
  Result<Estimate> EstimateImages(const ImageRequest& request, const CallOptions& call = {});
  Result<ServerInfo> GetServerInfo(const CallOptions& call = {});
  Result<Capabilities> GetCapabilities(const CallOptions& call = {});

 private:
  struct Connection;
  std::unique_ptr<Connection> connection_;
};

}  // namespace tightfit::client

#endif  // TIGHTFIT_CLIENT_CPP_GENERATION_CLIENT_H_
