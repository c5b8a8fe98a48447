#include "server/security/tls_files.h"

#include "tests/support/test_certificates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

namespace tightfit {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

class TlsFilesTest : public testing::Test {
 protected:
  TlsFilesTest() {
    std::string name = testing::TempDir() + "tightfit_tls_XXXXXX";
    folder_ = mkdtemp(name.data());
    leaf_ = authority_.Issue();
    paths_ = {Write("cert.pem", leaf_.certificate), Write("key.pem", leaf_.private_key), ""};
  }
  ~TlsFilesTest() override { std::filesystem::remove_all(folder_); }

  std::string Write(const std::string& name, const std::string& text) const {
    const std::filesystem::path path = folder_ / name;
    std::ofstream(path) << text;
    chmod(path.c_str(), 0600);
    return path.string();
  }

  // Expects the error to be about `setting` and its line to begin with `path`.
  void ExpectRefused(const std::string& setting, const std::string& path, const std::string& why) {
    const Status status = ReadTlsFiles(paths_).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(status.ForLog(), StartsWith(path + ": "));
    EXPECT_THAT(status.ForLog(), HasSubstr(why));
    ASSERT_TRUE(status.metadata().contains(kSettingMetadata));
    EXPECT_EQ(status.metadata().at(kSettingMetadata), setting);
  }

  std::filesystem::path folder_;
  TestAuthority authority_{"test authority"};
  TestCertificate leaf_;
  TlsPaths paths_;
};

TEST_F(TlsFilesTest, ReadsAMatchingPair) {
  const Result<TlsFiles> files = ReadTlsFiles(paths_);
  ASSERT_TRUE(files.ok()) << files.status().message();
  EXPECT_EQ(files->identity.certificate_chain, leaf_.certificate);
  EXPECT_EQ(files->identity.private_key, leaf_.private_key);
  EXPECT_EQ(files->identity.client_ca, "");
  EXPECT_THAT(files->warnings, IsEmpty());
}

TEST_F(TlsFilesTest, ReadsAChainAndTheClientCa) {
  Write("cert.pem", "a comment\n" + leaf_.certificate + authority_.certificate());
  paths_.client_ca = Write("ca.pem", authority_.certificate());
  const Result<TlsFiles> files = ReadTlsFiles(paths_);
  ASSERT_TRUE(files.ok()) << files.status().message();
  EXPECT_EQ(files->identity.client_ca, authority_.certificate());
}

TEST_F(TlsFilesTest, RefusesAFileThatIsMissingEmptyOrNotPem) {
  const std::string missing = (folder_ / "missing.pem").string();
  const std::string der = Write("der", std::string("\x30\x82\x01\x00", 4));
  const TlsPaths good = paths_;
  const std::pair<std::string, std::string> cases[] = {
      {missing, "No such file or directory"},
      {folder_.string(), "Is a directory"},
      {Write("empty", ""), "holds no"},
      {der, "holds no"},
      {Write("large", std::string((1 << 20) + 1, 'x')), "is larger than 1 MiB"},
  };
  for (const auto& [path, why] : cases) {
    paths_ = good;
    paths_.certificate = path;
    ExpectRefused("tls_certificate", path, why);
    paths_ = good;
    paths_.private_key = path;
    ExpectRefused("tls_private_key", path, why);
    paths_ = good;
    paths_.client_ca = path;
    ExpectRefused("tls_client_ca", path, why);
  }
}

TEST_F(TlsFilesTest, RefusesTheTwoFilesInEachOthersPlace) {
  std::swap(paths_.certificate, paths_.private_key);
  ExpectRefused("tls_certificate", paths_.certificate, "holds no certificate in PEM");
}

TEST_F(TlsFilesTest, RefusesADamagedCertificateByItsNumber) {
  std::string damaged = authority_.certificate();
  damaged[damaged.size() / 2] = '!';
  Write("cert.pem", leaf_.certificate + damaged);
  ExpectRefused("tls_certificate", paths_.certificate, "certificate 2 in it cannot be read");
}

TEST_F(TlsFilesTest, RefusesTheKeyOfAnotherCertificate) {
  Write("key.pem", authority_.Issue().private_key);
  ExpectRefused("tls_private_key", paths_.private_key, "is not the key of the first certificate");
  const TestCertificate other_kind = authority_.Issue({.rsa_bits = 2048});
  Write("key.pem", other_kind.private_key);
  ExpectRefused("tls_private_key", paths_.private_key, "is not the key of the first certificate");
}

TEST_F(TlsFilesTest, RefusesAKeyWithAPassphraseWithoutAskingForIt) {
  Write("key.pem", WithPassphrase(leaf_.private_key));
  ExpectRefused("tls_private_key", paths_.private_key, "is protected by a passphrase");
}

TEST_F(TlsFilesTest, RefusesAKeyThatTlsWouldRefuse) {
  const TestCertificate weak = authority_.Issue({.rsa_bits = 1024});
  Write("cert.pem", weak.certificate);
  Write("key.pem", weak.private_key);
  ExpectRefused("tls_certificate", paths_.certificate, "key too small");
}

TEST_F(TlsFilesTest, WarnsOfDatesThatAreOver) {
  using std::chrono::hours;
  const TestCertificate expired =
      authority_.Issue({.valid_from = hours(-48), .valid_until = hours(-1)});
  Write("cert.pem", expired.certificate);
  Write("key.pem", expired.private_key);
  EXPECT_THAT(
      ReadTlsFiles(paths_)->warnings,
      ElementsAre(paths_.certificate + ": has a certificate that is expired; it will be refused"));
  const TestCertificate early = authority_.Issue({.valid_from = hours(1), .valid_until = hours(2)});
  Write("cert.pem", early.certificate);
  Write("key.pem", early.private_key);
  EXPECT_THAT(ReadTlsFiles(paths_)->warnings, ElementsAre(HasSubstr("not valid yet")));
}

TEST_F(TlsFilesTest, WarnsOfAKeyThatOthersCanRead) {
  for (const auto& [mode, warnings] : {std::pair{0600, 0u}, {0640, 0u}, {0604, 1u}, {0644, 1u}}) {
    chmod(paths_.private_key.c_str(), mode);
    const Result<TlsFiles> files = ReadTlsFiles(paths_);
    ASSERT_TRUE(files.ok());
    EXPECT_EQ(files->warnings.size(), warnings) << std::oct << mode;
  }
}

}  // namespace
}  // namespace tightfit
