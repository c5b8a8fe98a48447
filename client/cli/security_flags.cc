#include "client/cli/security_flags.h"

#include "client/cli/input_file.h"

#include <cstdlib>
#include <fstream>

namespace tightfit::cli {
namespace {

std::string ReadPem(const char* flag, const std::string& path) {
  constexpr size_t kMaxBytes = 1 << 20;
  std::string text = ReadInputFile(flag, path, kMaxBytes);
  if (text.find("-----BEGIN ") == std::string::npos) {
    throw CLI::ValidationError(flag, path + " is not in PEM (-----BEGIN ...-----)");
  }
  return text;
}

// The first word of the file.
std::string ReadToken(const std::string& path) {
  std::ifstream file(path);
  std::string token;
  if (!(file >> token)) {
    throw CLI::ValidationError("--token-file", path + " cannot be read, or is empty");
  }
  return token;
}

}  // namespace

void SecurityFlags::AddTo(CLI::App* command) {
  const auto add = [command](const char* flag, std::string* file, const char* description) {
    return command->add_option(flag, *file, description)->type_name("FILE")->group("TLS and token");
  };
  add("--tls-ca", &ca_file_, "Connect with TLS; PEM certificates that vouch for the server")
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
    if (!ca_file_.empty()) tls.root_certificates = ReadPem("--tls-ca", ca_file_);
    if (!certificate_file_.empty()) {
      tls.certificate_chain = ReadPem("--tls-cert", certificate_file_);
      tls.private_key = ReadPem("--tls-key", key_file_);
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
