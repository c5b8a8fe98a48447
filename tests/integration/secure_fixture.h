// SecureFixture: a fake_model_server with certificates and tokens made for the test, and clients of
// the C++ library that ask it.
#ifndef TIGHTFIT_TESTS_INTEGRATION_SECURE_FIXTURE_H_
#define TIGHTFIT_TESTS_INTEGRATION_SECURE_FIXTURE_H_

#include "client/cpp/generation_client.h"
#include "server/security/access_tokens.h"
#include "tests/integration/served_fixture.h"
#include "tests/support/test_certificates.h"

#include <sys/stat.h>

#include <string>
#include <vector>

namespace tightfit {

class SecureFixture : public ServedFixture {
 protected:
  SecureFixture() {
    user_ = *MakeToken(AccessRole::kUser, "alice");
    admin_ = *MakeToken(AccessRole::kAdmin, "bob");
  }

  std::string WritePrivate(const std::string& name, const std::string& text) const {
    const std::string path = scratch_.Write(name, text);
    chmod(path.c_str(), 0600);
    return path;
  }

  // Flags of a server with this certificate.
  std::vector<std::string> TlsFlags(const TestCertificate& certificate) const {
    return {"--tls-certificate=" + WritePrivate("cert.pem", certificate.certificate),
            "--tls-private-key=" + WritePrivate("key.pem", certificate.private_key)};
  }
  std::string ClientCaFlag() const {
    return "--tls-client-ca=" + WritePrivate("client_ca.pem", authority_.certificate());
  }
  std::string TokensFlag() const {
    return "--tokens-file=" + WritePrivate("tokens", user_.line + "\n" + admin_.line + "\n");
  }

  client::TlsOptions Trusting(const TestAuthority& authority) const {
    return {.root_certificates = authority.certificate()};
  }

  client::ClientOptions Options() const {
    return {.server = server_->listen(), .connect_timeout = std::chrono::seconds(20)};
  }

  // What a call ends with.
  static Status Ask(client::ClientOptions options) {
    return client::GenerationClient(std::move(options)).GetServerInfo().status();
  }

  TestAuthority authority_{"the server's authority"};
  TestAuthority foreign_authority_{"another authority"};
  NewToken user_;
  NewToken admin_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_INTEGRATION_SECURE_FIXTURE_H_
