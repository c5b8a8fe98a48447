#include "tests/support/test_certificates.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <cstdlib>

namespace tightfit {
namespace {

using Key = std::shared_ptr<EVP_PKEY>;
using Certificate = std::shared_ptr<X509>;

void Require(bool done) {
  if (done) return;
  ERR_print_errors_fp(stderr);
  std::abort();
}

Key MakeKey(int rsa_bits) {
  EVP_PKEY* const key =
      rsa_bits > 0 ? EVP_RSA_gen(static_cast<unsigned>(rsa_bits)) : EVP_EC_gen("P-256");
  Require(key != nullptr);
  return {key, &EVP_PKEY_free};
}

template <typename Write>
std::string Pem(const Write& write) {
  const std::unique_ptr<BIO, int (*)(BIO*)> bio(BIO_new(BIO_s_mem()), &BIO_free);
  Require(bio != nullptr && write(bio.get()) == 1);
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return {text, static_cast<size_t>(size)};
}

std::string CertificatePem(const Certificate& certificate) {
  return Pem([&](BIO* bio) { return PEM_write_bio_X509(bio, certificate.get()); });
}

std::string KeyPem(const Key& key) {
  return Pem([&](BIO* bio) {
    return PEM_write_bio_PrivateKey(bio, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  });
}

void AddExtension(X509* certificate, int nid, const char* value) {
  X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, nullptr, nid, value);
  Require(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

// Without its issuer's name and signature.
Certificate Draft(const CertificateOptions& options, const Key& key) {
  const Certificate certificate(X509_new(), &X509_free);
  X509* const raw = certificate.get();
  Require(raw != nullptr && X509_set_version(raw, 2) == 1);
  uint64_t serial = 0;
  Require(RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof(serial)) == 1);
  Require(ASN1_INTEGER_set_uint64(X509_get_serialNumber(raw), serial >> 1) == 1);
  X509_gmtime_adj(X509_getm_notBefore(raw), options.valid_from.count());
  X509_gmtime_adj(X509_getm_notAfter(raw), options.valid_until.count());
  Require(X509_set_pubkey(raw, key.get()) == 1);
  Require(X509_NAME_add_entry_by_txt(
              X509_get_subject_name(raw), "CN", MBSTRING_UTF8,
              reinterpret_cast<const unsigned char*>(options.common_name.c_str()), -1, -1, 0) == 1);
  return certificate;
}

}  // namespace

TestAuthority::TestAuthority(const std::string& common_name) {
  key_ = MakeKey(0);
  certificate_ = Draft({.common_name = common_name, .valid_until = std::chrono::hours(24)}, key_);
  X509* const raw = certificate_.get();
  Require(X509_set_issuer_name(raw, X509_get_subject_name(raw)) == 1);
  AddExtension(raw, NID_basic_constraints, "critical,CA:TRUE");
  AddExtension(raw, NID_key_usage, "critical,keyCertSign,cRLSign");
  Require(X509_sign(raw, key_.get(), EVP_sha256()) > 0);
  certificate_pem_ = CertificatePem(certificate_);
}

TestCertificate TestAuthority::Issue(const CertificateOptions& options) const {
  const Key key = MakeKey(options.rsa_bits);
  const Certificate certificate = Draft(options, key);
  X509* const raw = certificate.get();
  Require(X509_set_issuer_name(raw, X509_get_subject_name(certificate_.get())) == 1);
  AddExtension(raw, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
  Require(X509_sign(raw, key_.get(), EVP_sha256()) > 0);
  return {CertificatePem(certificate), KeyPem(key)};
}

std::string WithPassphrase(const std::string& private_key_pem) {
  const std::unique_ptr<BIO, int (*)(BIO*)> bio(
      BIO_new_mem_buf(private_key_pem.data(), static_cast<int>(private_key_pem.size())), &BIO_free);
  const Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr), &EVP_PKEY_free);
  Require(key != nullptr);
  const unsigned char passphrase[] = "secret";
  return Pem([&](BIO* out) {
    return PEM_write_bio_PrivateKey(out, key.get(), EVP_aes_128_cbc(), passphrase, 6, nullptr,
                                    nullptr);
  });
}

}  // namespace tightfit
