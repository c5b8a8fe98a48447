#include "server/security/tls_files.h"

#include "server/security/credential_file.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>
#include <utility>

namespace tightfit {
namespace {

template <auto Free>
struct Freeing {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Bio = std::unique_ptr<BIO, Freeing<BIO_free>>;
using Certificate = std::unique_ptr<X509, Freeing<X509_free>>;
using PrivateKey = std::unique_ptr<EVP_PKEY, Freeing<EVP_PKEY_free>>;
using TlsContext = std::unique_ptr<SSL_CTX, Freeing<SSL_CTX_free>>;

Status About(const char* setting, const std::string& path, const std::string& what) {
  ERR_clear_error();
  return InvalidArgument(path + ": " + what).WithMetadata(kSettingMetadata, setting);
}

// OpenSSL's word for what just failed: "ee key too small".
std::string OpensslReason() {
  const char* const reason = ERR_reason_error_string(ERR_peek_last_error());
  return reason == nullptr ? "unknown reason" : reason;
}

Bio BioOf(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// Without it OpenSSL would ask for a passphrase on the terminal.
int NoPassphrase(char*, int, int, void*) { return -1; }

Result<CredentialFile> Read(const char* setting, const std::string& path) {
  Result<CredentialFile> file = ReadCredentialFile(path);
  if (file.ok()) return file;
  return file.status().WithMetadata(kSettingMetadata, setting);
}

Result<std::vector<Certificate>> ParseCertificates(const char* setting, const std::string& path,
                                                   const std::string& pem) {
  const Bio bio = BioOf(pem);
  std::vector<Certificate> certificates;
  for (;;) {
    Certificate certificate(PEM_read_bio_X509(bio.get(), nullptr, NoPassphrase, nullptr));
    if (certificate != nullptr) {
      certificates.push_back(std::move(certificate));
      continue;
    }
    const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    if (!at_end) {
      return About(setting, path,
                   "certificate " + std::to_string(certificates.size() + 1) +
                       " in it cannot be read (" + OpensslReason() + ")");
    }
    ERR_clear_error();
    break;
  }
  if (certificates.empty()) {
    return About(setting, path, "holds no certificate in PEM (-----BEGIN CERTIFICATE-----)");
  }
  return certificates;
}

Result<PrivateKey> ParsePrivateKey(const std::string& path, const std::string& pem) {
  constexpr char kSetting[] = "tls_private_key";
  const Bio bio = BioOf(pem);
  PrivateKey key(PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassphrase, nullptr));
  if (key != nullptr) return key;
  if (pem.find("ENCRYPTED") != std::string::npos) {
    return About(kSetting, path,
                 "is protected by a passphrase; take it off: openssl pkey -in FILE -out NEW");
  }
  return About(kSetting, path, "holds no private key in PEM (-----BEGIN PRIVATE KEY-----)");
}

bool IsOutOfDate(const X509* certificate) {
  return X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0 ||
         X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0;
}

void WarnOfDates(const std::vector<Certificate>& certificates, const std::string& path,
                 std::vector<std::string>* warnings) {
  for (const Certificate& certificate : certificates) {
    if (X509_cmp_current_time(X509_get0_notAfter(certificate.get())) < 0) {
      warnings->push_back(path + ": has a certificate that is expired; it will be refused");
    } else if (X509_cmp_current_time(X509_get0_notBefore(certificate.get())) > 0) {
      warnings->push_back(path + ": has a certificate that is not valid yet; it will be refused");
    }
  }
}

// What gRPC does with them at its start, where it would not say why it fails.
Status CheckUsable(const TlsPaths& paths, const std::vector<Certificate>& chain, EVP_PKEY* key) {
  const TlsContext context(SSL_CTX_new(TLS_server_method()));
  if (context == nullptr) return Internal("OpenSSL cannot be started", OpensslReason());
  if (SSL_CTX_use_certificate(context.get(), chain.front().get()) != 1) {
    return About("tls_certificate", paths.certificate,
                 "OpenSSL refuses the certificate: " + OpensslReason());
  }
  for (size_t i = 1; i < chain.size(); ++i) {
    if (SSL_CTX_add1_chain_cert(context.get(), chain[i].get()) != 1) {
      return About(
          "tls_certificate", paths.certificate,
          "OpenSSL refuses certificate " + std::to_string(i + 1) + " in it: " + OpensslReason());
    }
  }
  if (X509_check_private_key(chain.front().get(), key) != 1) {
    return About("tls_private_key", paths.private_key,
                 "is not the key of the first certificate in " + paths.certificate);
  }
  if (SSL_CTX_use_PrivateKey(context.get(), key) != 1) {
    return About("tls_private_key", paths.private_key,
                 "OpenSSL refuses the key: " + OpensslReason());
  }
  return OkStatus();
}

}  // namespace

Result<TlsFiles> ReadTlsFiles(const TlsPaths& paths) {
  TlsFiles files;
  TF_ASSIGN_OR_RETURN(CredentialFile certificate, Read("tls_certificate", paths.certificate));
  TF_ASSIGN_OR_RETURN(const std::vector<Certificate> chain,
                      ParseCertificates("tls_certificate", paths.certificate, certificate.text));
  TF_ASSIGN_OR_RETURN(CredentialFile private_key, Read("tls_private_key", paths.private_key));
  TF_ASSIGN_OR_RETURN(const PrivateKey key, ParsePrivateKey(paths.private_key, private_key.text));
  TF_RETURN_IF_ERROR(CheckUsable(paths, chain, key.get()));
  WarnOfDates(chain, paths.certificate, &files.warnings);
  files.is_out_of_date = IsOutOfDate(chain.front().get());
  if (private_key.readable_by_others) {
    files.warnings.push_back(paths.private_key +
                             ": every user of this machine can read this key; chmod o= it");
  }
  if (!paths.client_ca.empty()) {
    TF_ASSIGN_OR_RETURN(CredentialFile client_ca, Read("tls_client_ca", paths.client_ca));
    TF_ASSIGN_OR_RETURN(const std::vector<Certificate> roots,
                        ParseCertificates("tls_client_ca", paths.client_ca, client_ca.text));
    WarnOfDates(roots, paths.client_ca, &files.warnings);
    files.identity.client_ca = std::move(client_ca.text);
  }
  files.identity.certificate_chain = std::move(certificate.text);
  files.identity.private_key = std::move(private_key.text);
  return files;
}

}  // namespace tightfit
