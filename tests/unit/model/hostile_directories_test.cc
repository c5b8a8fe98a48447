// Model directories made to mislead, beside those of model_directory_test.cc.
#include "server/model/model_directory.h"
#include "server/model/model_manifest.h"
#include "server/model/safetensors.h"
#include "server/model/sha256.h"
#include "tests/unit/model/good_manifest.h"
#include "tests/unit/model/refusal.h"
#include "tests/unit/model/temporary_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace tightfit {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

// What a small document may take of the heap: this reader keeps all of it.
constexpr size_t kDocumentBytes = 32 << 10;

Status ReadText(const TemporaryDirectory& directory, const std::string& manifest) {
  directory.Write("model.json", manifest);
  return ReadModelDirectory(directory.path()).status();
}

struct HostileManifest {
  const char* what;
  std::string text;
  const char* expected;  // within the message
};

std::string Spoiled(const std::function<void(Json&)>& spoil) {
  Json json = GoodManifest();
  spoil(json);
  return json.dump();
}

std::string WithFileName(const std::string& name) {
  return Spoiled([&](Json& j) { j["components"]["unet"]["weights"]["file"] = name; });
}

std::vector<HostileManifest> HostileManifests() {
  const std::string good = GoodManifest().dump();
  const std::string file = "components.unet.weights.file";
  std::vector<HostileManifest> manifests = {
      {"a file of spaces", std::string(1000, ' '), "not a JSON object"},
      {"NUL bytes", std::string(1000, '\0'), "not a JSON object"},
      {"NUL behind it", good + std::string(1, '\0'), "not a JSON object"},
      {"a byte order mark and nothing", "\xEF\xBB\xBF", "not a JSON object"},
      {"two documents", good + good, "not a JSON object"},
      {"a text", "\"model\"", "not a JSON object"},
      {"a configuration of diffusers", R"({"_class_name":"StableDiffusionXLPipeline"})",
       "schema_version"},
      {"a package.json", R"({"name":"x","version":"1.0.0","scripts":{}})", "schema_version"},
      {"an index of weights", R"({"metadata":{"total_size":1},"weight_map":{}})", "schema_version"},
      {"a version of 2^64", R"({"schema_version":18446744073709551616})", "schema_version"},
      {"a version that is a text", R"({"schema_version":"2"})", "schema_version"},
      {"a version that is true", R"({"schema_version":true})", "schema_version"},
      {"a key twice", R"({"schema_version":2,"schema_version":2})", "twice"},
      {"a nested key twice", good.substr(0, good.size() - 1) + R"(,"x":{"a":1,"a":2}})", "twice"},
      {"a key twice in two spellings", good.substr(0, good.size() - 1) + R"(,"h\u0061sh":"x"})",
       "twice"},
      {"control characters in a dtype",
       Spoiled([](Json& j) { j["components"]["vae"]["graphs"]["a\x1b[2J\n"] = 1; }), "dtype"},
      {"a dtype of 100 000 bytes",
       Spoiled([](Json& j) { j["components"]["vae"]["graphs"][std::string(100000, 'x')] = 1; }),
       "dtype"},
      {"a scale of infinity", Spoiled([](Json& j) { j["vae"]["scaling_factor"] = 1e308 * 10; }),
       "vae.scaling_factor"},
      {"a number that overflows", R"({"schema_version":2e400})", ""},
      {"a name that is an object", Spoiled([](Json& j) { j["name"] = Json::object(); }), "name"},
      {"a license of 5000 bytes", Spoiled([](Json& j) { j["license"] = std::string(5000, 'x'); }),
       "license"},
      {"a size of 2^40 + 1", Spoiled([](Json& j) {
         j["components"]["unet"]["weights"]["bytes"] = (int64_t{1} << 40) + 1;
       }),
       "components.unet.weights.bytes"},
      {"a size that is a fraction",
       Spoiled([](Json& j) { j["components"]["unet"]["weights"]["bytes"] = 10.5; }),
       "components.unet.weights.bytes"},
      {"a digest with NUL", Spoiled([](Json& j) {
         j["components"]["unet"]["weights"]["sha256"] = std::string(63, '0') + std::string(1, '\0');
       }),
       "components.unet.weights.sha256"},
      {"a digest with a newline", Spoiled([](Json& j) {
         j["components"]["unet"]["weights"]["sha256"] = std::string(63, '0') + "\n";
       }),
       "components.unet.weights.sha256"},
      {"tokenizer files that lead out",
       Spoiled([](Json& j) { j["tokenizers"]["tokenizer"]["vocab.json"]["file"] = "../vocab"; }),
       "tokenizers.tokenizer.vocab.json.file"},
      {"a graph that leads out", Spoiled([](Json& j) {
         j["components"]["vae"]["graphs"]["fp32"]["file"] = "/proc/self/environ";
       }),
       "components.vae.graphs.fp32.file"},
  };
  for (const char* name :
       {"..", ".", "./unet", "a/./b", "a/..", "a//b", "a/", "//a", "/", "a\\..\\b", "C:\\x", "~/x",
        "$HOME/x", "a b", "a\nb", "a%2e%2e/b", "\xE2\x80\xA5/x", "file:///etc/passwd"}) {
    manifests.push_back({name, WithFileName(name), "components.unet.weights.file"});
  }
  manifests.push_back({"a long file name", WithFileName(std::string(256, 'x')), "file"});
  return manifests;
}

TEST(HostileDirectoriesTest, BadManifestsAreRefusedQuicklyWithAReason) {
  const TemporaryDirectory directory;
  for (const HostileManifest& hostile : HostileManifests()) {
    const Status status = ExpectRefusal(hostile.what, 8 * hostile.text.size() + kDocumentBytes,
                                        [&] { return ParseManifest(hostile.text).status(); });
    EXPECT_THAT(status.message(), HasSubstr(hostile.expected)) << hostile.what;
    EXPECT_THAT(status.message(), HasSubstr("model.json")) << hostile.what;
  }
  EXPECT_TRUE(ReadText(directory, GoodManifest().dump()).ok()) << "a good one after all of them";
}

TEST(HostileDirectoriesTest, EveryTruncationOfAManifestIsRefused) {
  const std::string whole = GoodManifest().dump();
  for (size_t size = 0; size < whole.size(); ++size) {
    ASSERT_EQ(ParseManifest(std::string_view(whole).substr(0, size)).status().reason(),
              "BAD_MODEL_DIRECTORY")
        << size;
  }
}

TEST(HostileDirectoriesTest, AFlippedBitOfAManifestIsRefusedOrLeadsNowhereElse) {
  const std::string whole = GoodManifest().dump();
  int refused = 0;
  for (size_t at = 0; at < whole.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string text = whole;
      text[at] = static_cast<char>(text[at] ^ (1 << bit));
      const auto model = ParseManifest(text);
      if (!model.ok()) {
        ++refused;
        continue;
      }
      for (const auto& [name, component] : model->components) {
        for (const ListedFile& file : {component.weights, component.graphs.begin()->second}) {
          ASSERT_NE(file.file.front(), '/');
          ASSERT_EQ(("/" + file.file + "/").find("/../"), std::string::npos) << file.file;
        }
        // The hash over the weights' digests holds these together.
        ASSERT_EQ(component.weights.sha256, kDigest);
      }
    }
  }
  EXPECT_GT(refused, static_cast<int>(whole.size()) * 4);
}

TEST(HostileDirectoriesTest, ADocumentOfManyValuesStaysWithinABoundOfMemory) {
  std::string lists = "{\"schema_version\":2,\"x\":[";
  while (lists.size() < (1 << 20) - 10) lists += "[],";
  lists += "[]]}";
  ResetHeapUse();
  EXPECT_FALSE(ParseManifest(lists).ok());
  EXPECT_LE(PeakHeapBytes(), size_t{64} << 20);
}

// One listed file of 10 bytes, and what may stand in its place.
class HostileFilesTest : public ::testing::Test {
 protected:
  HostileFilesTest() {
    model_.path = directory_.path() + "/model";
    std::filesystem::create_directory(model_.path);
    listed_ = {.file = "f.bin", .bytes = 10, .sha256 = Sha256::HexDigestOf("some bytes")};
    directory_.Write("secret", "top secret");  // 10 bytes, outside the model
  }
  std::string Path() const { return model_.PathOf(listed_); }
  Status Read() const { return ReadListedFile(model_.path, listed_, 1 << 20).status(); }

  // All ways that a file of the directory is read.
  void ExpectRefused(const char* what, const std::string& reason) {
    EXPECT_EQ(ExpectRefusal(what, 0, [&] { return Read(); }).reason(), reason) << what;
    EXPECT_EQ(
        ExpectRefusal(what, 1 << 20, [&] { return CheckListedFile(model_.path, listed_, {}); })
            .reason(),
        reason)
        << what;
    std::filesystem::remove_all(Path());
  }

  TemporaryDirectory directory_;
  ModelDirectory model_;
  ListedFile listed_;
};

TEST_F(HostileFilesTest, LinksToFilesOutsideGiveNothingButTheListedBytes) {
  std::filesystem::create_symlink(directory_.path() + "/secret", Path());
  ExpectRefused("a link to another file", "CHECKSUM_MISMATCH");
  std::filesystem::create_hard_link(directory_.path() + "/secret", Path());
  ExpectRefused("a hard link to another file", "CHECKSUM_MISMATCH");
  std::filesystem::create_symlink("/etc/passwd", Path());
  ExpectRefused("a link to a system file", "FILE_TRUNCATED");
  // A cache of models that keeps its files elsewhere is served.
  directory_.Write("blob", "some bytes");
  std::filesystem::create_symlink(directory_.path() + "/blob", Path());
  EXPECT_TRUE(Read().ok());
}

TEST_F(HostileFilesTest, WhatIsNoRegularFileIsNotOpened) {
  std::filesystem::create_symlink("nowhere", Path());
  ExpectRefused("a dangling link", "FILE_MISSING");
  std::filesystem::create_symlink("f.bin", Path());
  ExpectRefused("a link to itself", "FILE_MISSING");
  std::filesystem::create_symlink("/dev/zero", Path());
  ExpectRefused("an endless device", "FILE_MISSING");
  std::filesystem::create_symlink("/dev/stdin", Path());
  EXPECT_FALSE(Read().ok());
  std::filesystem::remove(Path());
  ASSERT_EQ(mkfifo(Path().c_str(), 0600), 0);
  ExpectRefused("a fifo that nobody writes to", "FILE_MISSING");
  std::filesystem::create_directory(Path());
  ExpectRefused("a directory", "FILE_MISSING");
  std::filesystem::create_symlink("/proc/self/maps", Path());
  ExpectRefused("a file of the system without a size", "FILE_TRUNCATED");
}

TEST_F(HostileFilesTest, SizesThatLieAreFoundBeforeMemoryIsTaken) {
  directory_.Write("model/f.bin", "some bytes");
  for (const int64_t bytes : {int64_t{0}, int64_t{9}, int64_t{11}, int64_t{1} << 40}) {
    listed_.bytes = bytes;
    EXPECT_EQ(ExpectRefusal(std::to_string(bytes), 0, [&] { return Read(); }).reason(),
              "FILE_TRUNCATED");
  }
  // A file of holes takes no room on the disk, but would in memory.
  std::filesystem::resize_file(Path(), uintmax_t{1} << 40);
  listed_.bytes = int64_t{1} << 40;
  EXPECT_EQ(ExpectRefusal("1 TiB of holes", 0, [&] { return Read(); }).reason(),
            "BAD_MODEL_DIRECTORY");
  EXPECT_EQ(ExpectRefusal("1 TiB of holes as weights", 0,
                          [&] { return SafetensorsFile::Open(Path(), "f.bin").status(); })
                .reason(),
            "BAD_MODEL_DIRECTORY");
}

TEST_F(HostileFilesTest, DigestsOfOthersAreRefused) {
  directory_.Write("model/f.bin", "some bytes");
  for (const std::string& digest :
       {std::string(64, '0'), Sha256::HexDigestOf(""), Sha256::HexDigestOf("some byteS")}) {
    listed_.sha256 = digest;
    EXPECT_EQ(ExpectRefusal(digest, 0, [&] { return Read(); }).reason(), "CHECKSUM_MISMATCH");
  }
}

}  // namespace
}  // namespace tightfit
