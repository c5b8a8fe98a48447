#include "client/cli/security_flags.h"

#include "client/cli/number_flags.h"
#include "client/cli/whole_file.h"

#include <cstdlib>
#include <sstream>

namespace tightfit::cli {
namespace {

constexpr size_t kMaxPemBytes = 1 << 20;
constexpr size_t kMaxTokenFileBytes = 1 << 16;

// `what`: the label that one of its blocks ends with, CERTIFICATE or PRIVATE KEY.
std::string ReadPem(const char* flag, const std::string& path, const std::string& what) {
  std::string text = ValueOrThrow(flag, ReadWholeFile(path, kMaxPemBytes));
  if (text.find("-----BEGIN ") == std::string::npos) {
    throw CLI::ValidationError(flag, path + " is not in PEM (-----BEGIN ...-----)");
  }
  if (text.find(what + "-----") == std::string::npos) {
    throw CLI::ValidationError(flag, path + " is PEM, but holds no " + what);
  }
  return text;
}

// The first word of the file.
std::string ReadToken(const std::string& path) {
  std::istringstream words(ValueOrThrow("--token-file", ReadWholeFile(path, kMaxTokenFileBytes)));
  std::string token;
  if (!(words >> token)) throw CLI::ValidationError("--token-file", path + " holds blanks only");
  return token;
}

}  // namespace

void SecurityFlags::AddTo(CLI::App* command) {
  const auto add = [command](const char* flag, std::string* file, const char* description) {
    return command->add_option(flag, *file, description)->type_name("FILE")->group("TLS and token");
  };
  add("--tls-ca", &ca_file_, "Connect with TLS; PEM certificates to trust the server by")
      ->envname("TIGHTFIT_TLS_CA");
  add("--tls-cert", &certificate_file_, "Certificate to show, where the server asks for one (PEM)")
      ->envname("TIGHTFIT_TLS_CERT");
  add("--tls-key", &key_file_, "The key of --tls-cert (PEM)")->envname("TIGHTFIT_TLS_KEY");
  add("--token-file", &token_file_,
      "File with the token, else TIGHTFIT_TOKEN; see tightfit --help");
  command
      ->add_flag("--allow-plaintext", allow_plaintext_,
                 "Send the token to another machine without TLS")
      ->group("TLS and token");
}

void SecurityFlags::ApplyTo(const std::string& server, SharedOptions* options) const {
  if (certificate_file_.empty() != key_file_.empty()) {
    throw CLI::ValidationError("--tls-cert", "and --tls-key are of use together only");
  }
  if (!ca_file_.empty() || !certificate_file_.empty() || server.starts_with(kTlsScheme)) {
    client::TlsOptions& tls = options->tls.emplace();
    if (!ca_file_.empty()) tls.root_certificates = ReadPem("--tls-ca", ca_file_, "CERTIFICATE");
    if (!certificate_file_.empty()) {
      tls.certificate_chain = ReadPem("--tls-cert", certificate_file_, "CERTIFICATE");
      tls.private_key = ReadPem("--tls-key", key_file_, "PRIVATE KEY");
    }
  }
  const char* const token = std::getenv("TIGHTFIT_TOKEN");
  if (!token_file_.empty()) {
    options->token = ReadToken(token_file_);
  } else if (token != nullptr) {
    options->token = token;
  }
  options->allow_plaintext = allow_plaintext_;
}

}  // namespace tightfit::cli
