// Certificates made for one test, by an authority made for it.
#ifndef TIGHTFIT_TESTS_SUPPORT_TEST_CERTIFICATES_H_
#define TIGHTFIT_TESTS_SUPPORT_TEST_CERTIFICATES_H_

#include <chrono>
#include <memory>
#include <string>

struct evp_pkey_st;
struct x509_st;

namespace tightfit {

struct CertificateOptions {
  std::string common_name = "localhost";   // also valid for localhost and 127.0.0.1
  std::chrono::seconds valid_from{-3600};  // from now
  std::chrono::seconds valid_until{3600};
  int rsa_bits = 0;  // 0: an elliptic curve
};

// As PEM.
struct TestCertificate {
  std::string certificate;
  std::string private_key;
};

// Signs with a key of its own. Ends the test program where OpenSSL fails.
class TestAuthority {
 public:
  explicit TestAuthority(const std::string& common_name);

  const std::string& certificate() const { return certificate_pem_; }
  TestCertificate Issue(const CertificateOptions& options = {}) const;

 private:
  std::shared_ptr<evp_pkey_st> key_;
  std::shared_ptr<x509_st> certificate_;
  std::string certificate_pem_;
};

// `private_key` again, protected by a passphrase.
std::string WithPassphrase(const std::string& private_key_pem);

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_SUPPORT_TEST_CERTIFICATES_H_
