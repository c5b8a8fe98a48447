#include "server/rpc/server_credentials.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>

#include <string>
#include <utility>

namespace tightfit {
namespace {

// gRPC's C++ API has certificates that can be replaced only with checks of its own in the
// handshake; its C API asks for them before each handshake.
class ReplaceableTls final : public grpc::ServerCredentials {
 public:
  explicit ReplaceableTls(std::shared_ptr<const CurrentTlsIdentity> identity)
      : identity_(std::move(identity)) {
    grpc_ssl_server_credentials_options* const options =
        grpc_ssl_server_credentials_create_options_using_config_fetcher(
            identity_->needs_client_certificates()
                ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
            &ReplaceableTls::Fetch, this);
    credentials_ = grpc_ssl_server_credentials_create_with_options(options);
  }
  ~ReplaceableTls() override { grpc_server_credentials_release(credentials_); }

  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {}

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  // gRPC asks one handshake at a time, and keeps what it has unless it is told of something new.
  static grpc_ssl_certificate_config_reload_status Fetch(
      void* self_pointer, grpc_ssl_server_certificate_config** config) {
    auto* const self = static_cast<ReplaceableTls*>(self_pointer);
    const std::optional<TlsIdentity> newer = self->identity_->Newer(&self->version_);
    if (!newer.has_value()) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    const grpc_ssl_pem_key_cert_pair pair = {newer->private_key.c_str(),
                                             newer->certificate_chain.c_str()};
    *config = grpc_ssl_server_certificate_config_create(
        newer->client_ca.empty() ? nullptr : newer->client_ca.c_str(), &pair, 1);
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  const std::shared_ptr<const CurrentTlsIdentity> identity_;
  int64_t version_ = 0;
  grpc_server_credentials* credentials_ = nullptr;
};

}  // namespace

void CurrentTlsIdentity::Replace(TlsIdentity identity) {
  const std::lock_guard lock(mutex_);
  identity_ = std::move(identity);
  ++version_;
}

std::optional<TlsIdentity> CurrentTlsIdentity::Newer(int64_t* version) const {
  const std::lock_guard lock(mutex_);
  if (std::exchange(*version, version_) == version_) return std::nullopt;
  return identity_;
}

bool CurrentTlsIdentity::needs_client_certificates() const {
  const std::lock_guard lock(mutex_);
  return !identity_.client_ca.empty();
}

std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(
    std::shared_ptr<const CurrentTlsIdentity> identity) {
  if (identity == nullptr) return grpc::InsecureServerCredentials();
  return std::make_shared<ReplaceableTls>(std::move(identity));
}

}  // namespace tightfit
