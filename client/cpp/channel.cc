#include "client/cpp/channel.h"

#include <arpa/inet.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <algorithm>
#include <cctype>

namespace tightfit::client {
namespace {

// RFC 6750's b64token: what may follow "Bearer ".
bool IsToken(std::string_view token) {
  return !token.empty() && token.size() <= 4096 &&
         std::all_of(token.begin(), token.end(), [](unsigned char c) {
           return c < 0x80 &&
                  (std::isalnum(c) || std::string_view("-._~+/=").find(static_cast<char>(c)) !=
                                          std::string_view::npos);
         });
}

Status Refused(std::string message) {
  return {StatusCode::kInvalidArgument, std::string(kBadCredentials), std::move(message)};
}

std::shared_ptr<grpc::ChannelCredentials> MakeCredentials(const ClientOptions& options) {
  if (!options.tls.has_value()) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions tls;
  tls.pem_root_certs = options.tls->root_certificates;
  tls.pem_cert_chain = options.tls->certificate_chain;
  tls.pem_private_key = options.tls->private_key;
  return grpc::SslCredentials(tls);
}

bool Contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

}  // namespace

bool IsThisMachine(std::string_view server) {
  if (server.starts_with("unix:") || server.starts_with("unix-abstract:")) return true;
  for (const std::string_view scheme : {"dns:///", "dns:", "ipv4:", "ipv6:"}) {
    if (server.starts_with(scheme)) {
      server.remove_prefix(scheme.size());
      break;
    }
  }
  // gRPC's ipv4: and ipv6: take lists.
  if (server.find(',') != server.npos) return false;
  std::string host(server.substr(0, server.rfind(':')));
  if (server.starts_with('[')) {
    const size_t end = server.find(']');
    if (end == server.npos || (end + 1 < server.size() && server[end + 1] != ':')) return false;
    host = server.substr(1, end - 1);
  }
  in_addr address;
  return host == "localhost" || host == "::1" ||
         (host.starts_with("127.") && inet_pton(AF_INET, host.c_str(), &address) == 1);
}

Status CheckCredentials(const ClientOptions& options) {
  if (options.tls.has_value() &&
      options.tls->certificate_chain.empty() != options.tls->private_key.empty()) {
    return Refused("a client certificate needs its private key, and a key its certificate");
  }
  if (options.token.empty()) return OkStatus();
  if (!IsToken(options.token)) {
    return Refused(
        "the token holds characters that no token has; it is one word, as tightfit-server "
        "token new prints it");
  }
  if (!options.tls.has_value() && !IsThisMachine(options.server) &&
      !options.allow_plaintext_token) {
    return Refused("the token would go to " + options.server +
                   " in plain text, for others to read and use; connect with TLS");
  }
  return OkStatus();
}

std::shared_ptr<grpc::Channel> CreateChannel(const ClientOptions& options) {
  grpc::ChannelArguments arguments;
  // gRPC's first pause after a refused connection is a second; a server that is just starting is
  // reached sooner with these.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  // This client retries by the server's RetryInfo; gRPC's transparent retries would hide that.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  // gRPC would send even loopback traffic through the environment's http_proxy.
  if (IsThisMachine(options.server)) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(options.server, MakeCredentials(options), arguments);
}

TlsFailure ExplainTlsFailure(std::string_view grpc_message, const ClientOptions& options) {
  const auto failed = [&](const std::string& why) {
    return Status(StatusCode::kUnavailable, std::string(kTlsFailed), options.server + " " + why)
        .WithDetail(std::string(grpc_message));
  };
  // A handshake that the server ends is seen as no more than this: with TLS 1.3 a client believes
  // in its connection before the server has looked at the client's certificate.
  const bool ended_by_server =
      Contains(grpc_message, "Socket closed") || Contains(grpc_message, "Connection reset by peer");
  if (!options.tls.has_value()) {
    if (!ended_by_server) return {};
    return {failed("takes the connection and ends it, as a server with TLS does; connect with TLS"),
            false};
  }
  if (Contains(grpc_message, "wrong version number") ||
      Contains(grpc_message, "WRONG_VERSION_NUMBER")) {
    return {failed("does not speak TLS; connect without it, or give the server a certificate"),
            true};
  }
  if (Contains(grpc_message, "certificate verify failed") ||
      Contains(grpc_message, "CERTIFICATE_VERIFY_FAILED")) {
    return {
        failed("has a certificate that none of the given roots vouches for, or that is not valid "
               "now"),
        true};
  }
  if (Contains(grpc_message, "is not in peer certificate")) {
    return {failed("has a certificate for another name"), true};
  }
  if (!ended_by_server) return {};
  return {failed(options.tls->certificate_chain.empty()
                     ? "ends the connection, as a server does that asks for a client certificate; "
                       "give one"
                     : "ends the connection, as a server does that the client certificate does not "
                       "convince"),
          false};
}

ConnectFailure ExplainConnectFailure(std::string_view grpc_message, const ClientOptions& options) {
  const auto failed = [&](std::string_view reason, std::string message) {
    return Status(StatusCode::kUnavailable, std::string(reason), std::move(message))
        .WithDetail(std::string(grpc_message));
  };
  if (Contains(grpc_message, "http1.x server") ||
      Contains(grpc_message, "Expected SETTINGS frame") ||
      Contains(grpc_message, "Failed parsing HTTP/2")) {
    return {failed(kNotGrpc, options.server +
                                 " answers, but not as a gRPC server does; is it the port of a web "
                                 "server, such as that of GET /metrics?"),
            true, false};
  }
  if (Contains(grpc_message, "Connection refused") ||
      Contains(grpc_message, "No such file or directory")) {
    return {failed(kCannotConnect,
                   "no server listens at " + options.server + ": the connection was refused"),
            false, true};
  }
  if (Contains(grpc_message, "DNS resolution failed") ||
      Contains(grpc_message, "errors resolving")) {
    return {failed(kCannotConnect, "the name in " + options.server + " cannot be resolved"), false,
            false};
  }
  const TlsFailure tls = ExplainTlsFailure(grpc_message, options);
  return {tls.status, tls.is_certain, false};
}

}  // namespace tightfit::client
