#include "server/weights/cut_directory.h"

#include "server/weights/directory_check.h"
#include "tests/unit/weights/sample_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace tightfit {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

constexpr char kUnetFile[] = "unet.packed.safetensors";
constexpr char kFirst[] = "unet.packed.safetensors.part-001-of-003";
constexpr char kSecond[] = "unet.packed.safetensors.part-002-of-003";
constexpr char kLast[] = "unet.packed.safetensors.part-003-of-003";

// "out" is a packed directory, "cut" what it is cut into: the UNet in three shards.
class CutDirectoryTest : public SampleDirectory {
 protected:
  CutDirectoryTest() {
    EXPECT_TRUE(Pack(Packing("unet=hf8,text_encoder_2=q8b32")).ok());
    unet_bytes_ = static_cast<int64_t>(std::filesystem::file_size(PathOf("out/") + kUnetFile));
    shard_bytes_ = (unet_bytes_ + 2) / 3;
  }

  Result<ShardList> Cut(const DirectoryProgress& progress = {}) {
    return CutDirectory({.model = PathOf("out"),
                         .out = PathOf("cut"),
                         .shard_bytes = shard_bytes_,
                         .worth_keeping_bytes = 1},
                        progress);
  }

  Result<DirectoryJoinReport> Join(const DirectoryProgress& progress = {}) {
    return JoinDirectory(
        {.directory = PathOf("cut"), .out = PathOf("joined"), .worth_keeping_bytes = 1}, progress);
  }

  // Every file below, by its name.
  std::map<std::string, std::string> FilesIn(const std::string& name) const {
    std::map<std::string, std::string> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(PathOf(name))) {
      if (entry.is_directory()) continue;
      files[std::filesystem::relative(entry.path(), PathOf(name)).string()] =
          ReadWholeFile(entry.path().string());
    }
    return files;
  }

  void KeepCut() const {
    std::filesystem::copy(PathOf("cut"), PathOf("kept"), std::filesystem::copy_options::recursive);
  }
  void RestoreCut() const {
    std::filesystem::remove_all(PathOf("cut"));
    std::filesystem::copy(PathOf("kept"), PathOf("cut"), std::filesystem::copy_options::recursive);
  }

  void WriteCut(const std::string& name, const std::string& bytes) {
    std::ofstream(PathOf("cut/" + name), std::ios::binary) << bytes;
  }

  OrderedJson ShardListJson() const {
    return OrderedJson::parse(ReadWholeFile(PathOf("cut/shards.json")));
  }

  // What joining says, once it has left nothing behind.
  std::string Refusal() {
    const auto before = In("");
    const auto report = Join();
    EXPECT_FALSE(report.ok());
    EXPECT_EQ(In(""), before) << "nothing is written";
    return report.status().message();
  }

  int64_t unet_bytes_ = 0;
  int64_t shard_bytes_ = 0;
};

TEST_F(CutDirectoryTest, ACutDirectoryIsJoinedToTheByte) {
  const auto list = Cut();
  ASSERT_TRUE(list.ok()) << list.status().message();
  const auto original = FilesIn("out");
  for (const auto& [name, bytes] : FilesIn("cut")) {
    if (name == "shards.json") continue;
    EXPECT_LE(std::ssize(bytes), name == "model.json" ? 1 << 20 : shard_bytes_) << name;
  }
  EXPECT_EQ(ReadWholeFile(PathOf("cut/") + kFirst) + ReadWholeFile(PathOf("cut/") + kSecond) +
                ReadWholeFile(PathOf("cut/") + kLast),
            original.at(kUnetFile));
  std::filesystem::remove_all(PathOf("out"));
  std::filesystem::remove_all(PathOf("model"));
  const auto report = Join();
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(FilesIn("joined"), original);
  EXPECT_EQ(report->hash, manifest_["hash"].get<std::string>());
  EXPECT_THAT(In(""), UnorderedElementsAre("cut", "joined"));
  EXPECT_THAT(CheckDirectory(PathOf("joined"), 1, {})->damaged, IsEmpty());
}

TEST_F(CutDirectoryTest, ShardsAreListedWithTheirOwnDigestsAndAnyoneCanCheckThem) {
  ASSERT_TRUE(Cut().ok());
  const OrderedJson json = ShardListJson();
  EXPECT_EQ(json["version"], 1);
  EXPECT_EQ(json["shard_bytes"], shard_bytes_);
  EXPECT_EQ(json["manifest_sha256"], Sha256::HexDigestOf(ReadWholeFile(PathOf("out/model.json"))));
  size_t shards = 0;
  for (const OrderedJson& file : json["files"]) {
    std::string whole;
    for (const OrderedJson& shard : file["shards"]) {
      const std::string bytes = ReadWholeFile(PathOf("cut/" + shard["file"].get<std::string>()));
      EXPECT_EQ(bytes.size(), shard["bytes"]);
      EXPECT_EQ(Sha256::HexDigestOf(bytes), shard["sha256"]);
      whole += bytes;
      ++shards;
    }
    EXPECT_EQ(whole.size(), file["bytes"]);
    EXPECT_EQ(Sha256::HexDigestOf(whole), file["sha256"]);
  }
  EXPECT_GE(shards, 4u) << "other components are cut too";
}

TEST_F(CutDirectoryTest, SizesAtAndBesideTheBorderOfAShardAreRight) {
  for (const int64_t shards : {2, 5}) {
    for (const int64_t more : {-1, 0, 1}) {
      shard_bytes_ = unet_bytes_ / shards + more;
      const auto list = Cut();
      ASSERT_TRUE(list.ok()) << list.status().message();
      ASSERT_TRUE(Join().ok());
      EXPECT_EQ(FilesIn("joined"), FilesIn("out"));
      const auto& unet = list->files.front();
      EXPECT_EQ(std::ssize(unet.shards), (unet_bytes_ + shard_bytes_ - 1) / shard_bytes_);
      EXPECT_GE(unet.shards.back().bytes, 1);
      std::filesystem::remove_all(PathOf("cut"));
      std::filesystem::remove_all(PathOf("joined"));
    }
  }
}

TEST_F(CutDirectoryTest, AFileOfExactlyTheSizeIsNotCutAndWithNoneLargerThereIsNothingToDo) {
  const auto files = FilesIn("out");
  shard_bytes_ = 0;
  for (const auto& [name, bytes] : files) shard_bytes_ = std::max(shard_bytes_, std::ssize(bytes));
  EXPECT_EQ(Cut().status().reason(), "NOTHING_TO_CUT");
  EXPECT_THAT(In(""), UnorderedElementsAre("model", "out"));
  --shard_bytes_;
  EXPECT_TRUE(Cut().ok());
}

TEST_F(CutDirectoryTest, AThousandShardsOfOneFileAreTooMany) {
  int64_t largest_bytes = 0;
  for (const auto& [name, bytes] : FilesIn("out")) {
    if (name != "model.json") largest_bytes = std::max(largest_bytes, std::ssize(bytes));
  }
  shard_bytes_ = (largest_bytes - 1) / 1000;
  EXPECT_EQ(Cut().status().reason(), "TOO_MANY_SHARDS");
  shard_bytes_ = (largest_bytes + 998) / 999;
  const auto list = Cut();
  ASSERT_TRUE(list.ok()) << list.status().message();
  EXPECT_TRUE(Join().ok());
}

TEST_F(CutDirectoryTest, EveryReaderOfACutDirectorySaysWhatToType) {
  ASSERT_TRUE(Cut().ok());
  const std::string wanted = "tightfit pack --join DIR --out NEW_DIR";
  EXPECT_EQ(ReadModelDirectory(PathOf("cut")).status().reason(), "DIRECTORY_IS_CUT");
  EXPECT_THAT(ReadModelDirectory(PathOf("cut")).status().message(),
              AllOf(HasSubstr(wanted), Not(HasSubstr(PathOf("")))));
  EXPECT_THAT(CheckDirectory(PathOf("cut"), 1, {}).status().message(), HasSubstr(wanted));
  EXPECT_THAT(UnpackDirectory(PathOf("cut"), PathOf("dense"), {}, {}).status().message(),
              HasSubstr(wanted));
  // With the weights beside it, shards.json is a file that nobody reads.
  ASSERT_TRUE(Join().ok());
  std::filesystem::copy(PathOf("cut/shards.json"), PathOf("joined/shards.json"));
  EXPECT_TRUE(ReadModelDirectory(PathOf("joined")).ok());
}

TEST_F(CutDirectoryTest, WhatIsNotPackedOrNotCutIsRefused) {
  EXPECT_EQ(CutDirectory({.model = PathOf("model"), .out = PathOf("cut"), .shard_bytes = 100}, {})
                .status()
                .reason(),
            "NOT_PACKED");
  EXPECT_EQ(
      JoinDirectory({.directory = PathOf("out"), .out = PathOf("joined")}, {}).status().reason(),
      "NOT_CUT");
  ASSERT_TRUE(Cut().ok());
  EXPECT_THAT(Cut().status().message(), HasSubstr("it exists"));
}

TEST_F(CutDirectoryTest, DamagedShardsAreRefusedByNameBeforeAnythingIsWritten) {
  struct Damage {
    const char* what;
    std::function<void()> play;
    const char* named;
    const char* reason;
  };
  const auto path = [this](const std::string& name) { return PathOf("cut/" + name); };
  const std::vector<Damage> damages = {
      {"missing", [&] { std::filesystem::remove(path(kSecond)); }, kSecond, "FILE_MISSING"},
      {"empty", [&] { std::filesystem::resize_file(path(kFirst), 0); }, kFirst, "FILE_TRUNCATED"},
      {"truncated",
       [&] { std::filesystem::resize_file(path(kSecond), static_cast<size_t>(shard_bytes_) - 1); },
       kSecond, "FILE_TRUNCATED"},
      {"too long",
       [&] { std::filesystem::resize_file(path(kLast), static_cast<size_t>(shard_bytes_) + 9); },
       kLast, "FILE_TRUNCATED"},
      {"swapped",
       [&] {
         std::filesystem::rename(path(kFirst), path("x"));
         std::filesystem::rename(path(kSecond), path(kFirst));
         std::filesystem::rename(path("x"), path(kSecond));
       },
       kFirst, "CHECKSUM_MISMATCH"},
      {"a bit of the first", [&] { FlipBit(path(kFirst), 1); }, kFirst, "CHECKSUM_MISMATCH"},
      {"a bit of the last", [&] { FlipBit(path(kLast), 5); }, kLast, "CHECKSUM_MISMATCH"},
      {"one too many", [&] { WriteCut("unet.packed.safetensors.part-004-of-003", "x"); },
       "unet.packed.safetensors.part-004-of-003", "BAD_MODEL_DIRECTORY"},
      {"one of another cut", [&] { WriteCut("unet.packed.safetensors.part-1-of-2", "x"); },
       "unet.packed.safetensors.part-1-of-2", "BAD_MODEL_DIRECTORY"},
      {"a directory",
       [&] {
         std::filesystem::remove(path(kFirst));
         std::filesystem::create_directory(path(kFirst));
       },
       kFirst, "FILE_MISSING"},
      {"a graph", [&] { FlipBit(path("unet.fp32.ts"), 1); }, "unet.fp32.ts", "CHECKSUM_MISMATCH"},
      {"a missing tokenizer", [&] { std::filesystem::remove(path("tokenizer/vocab.json")); },
       "tokenizer/vocab.json", "FILE_MISSING"},
      {"another model.json", [&] { WriteCut("model.json", manifest_.dump()); }, "shards.json",
       "BAD_MODEL_DIRECTORY"},
  };
  ASSERT_TRUE(Cut().ok());
  KeepCut();
  for (const Damage& damage : damages) {
    SCOPED_TRACE(damage.what);
    damage.play();
    EXPECT_THAT(Refusal(), HasSubstr(damage.named));
    EXPECT_EQ(Join().status().reason(), damage.reason);
    RestoreCut();
  }
  EXPECT_TRUE(Join().ok()) << "control";
}

TEST_F(CutDirectoryTest, AListThatLiesIsRefusedBeforeAnythingIsWritten) {
  struct Lie {
    const char* what;
    std::function<void(OrderedJson*)> tell;
    const char* named;
  };
  const auto shard = [](OrderedJson* json, size_t at) -> OrderedJson& {
    return (*json)["files"][0]["shards"][at];
  };
  const std::vector<Lie> lies = {
      {"version 2", [](OrderedJson* j) { (*j)["version"] = 2; }, "version"},
      {"no version", [](OrderedJson* j) { j->erase("version"); }, "version"},
      {"shards of 0 bytes", [](OrderedJson* j) { (*j)["shard_bytes"] = 0; }, "shard_bytes"},
      {"of -1", [](OrderedJson* j) { (*j)["shard_bytes"] = -1; }, "shard_bytes"},
      {"of 1 byte", [](OrderedJson* j) { (*j)["shard_bytes"] = 1; }, "2 to 999 shards"},
      {"of 2^63", [](OrderedJson* j) { (*j)["shard_bytes"] = uint64_t{1} << 63; }, "shard_bytes"},
      {"of a fraction", [](OrderedJson* j) { (*j)["shard_bytes"] = 1.5; }, "shard_bytes"},
      {"of half the size", [&](OrderedJson* j) { (*j)["shard_bytes"] = shard_bytes_ / 2; },
       "must have"},
      {"no files", [](OrderedJson* j) { (*j)["files"] = OrderedJson::array(); }, "files"},
      {"files that are no list", [](OrderedJson* j) { (*j)["files"] = "all"; }, "files"},
      {"a file twice", [](OrderedJson* j) { (*j)["files"].push_back((*j)["files"][0]); },
       "stands there twice"},
      {"a file that nobody lists", [](OrderedJson* j) { (*j)["files"][0]["file"] = "/etc/passwd"; },
       "\"/etc/passwd\" is no file that model.json lists"},
      {"another size of the file", [](OrderedJson* j) { (*j)["files"][0]["bytes"] = 7; },
       "has another size or SHA-256 than in model.json"},
      {"another digest of the file",
       [](OrderedJson* j) { (*j)["files"][0]["sha256"] = std::string(64, '0'); },
       "has another size or SHA-256 than in model.json"},
      {"a shard less", [](OrderedJson* j) { (*j)["files"][0]["shards"].erase(2); },
       "must have 3 shards"},
      {"a shard more", [&](OrderedJson* j) { (*j)["files"][0]["shards"].push_back(shard(j, 0)); },
       "must have 3 shards"},
      {"shards in another order", [&](OrderedJson* j) { std::swap(shard(j, 0), shard(j, 1)); },
       kFirst},
      {"a way out of the directory",
       [&](OrderedJson* j) { shard(j, 1)["file"] = "../" + std::string(kSecond); }, kSecond},
      {"a way into another", [&](OrderedJson* j) { shard(j, 1)["file"] = "a/b"; }, "\"a/b\""},
      {"a name of bytes", [&](OrderedJson* j) { shard(j, 1)["file"] = "\n\x1b[31m"; }, kSecond},
      {"another size of a shard", [&](OrderedJson* j) { shard(j, 0)["bytes"] = 5; }, kFirst},
      {"2^63 bytes of a shard", [&](OrderedJson* j) { shard(j, 0)["bytes"] = uint64_t{1} << 63; },
       kFirst},
      {"a digest of another shard",
       [&](OrderedJson* j) { shard(j, 0)["sha256"] = shard(j, 1)["sha256"]; }, kFirst},
      {"a digest that is none", [&](OrderedJson* j) { shard(j, 2)["sha256"] = "00"; }, kLast},
      {"a shard that is a number", [&](OrderedJson* j) { shard(j, 2) = 3; }, kLast},
      {"another model.json", [](OrderedJson* j) { (*j)["manifest_sha256"] = std::string(64, '0'); },
       "model.json"},
      {"one file less", [](OrderedJson* j) { (*j)["files"].erase(0); }, kUnetFile},
  };
  ASSERT_TRUE(Cut().ok());
  const OrderedJson right = ShardListJson();
  for (const Lie& lie : lies) {
    SCOPED_TRACE(lie.what);
    OrderedJson json = right;
    lie.tell(&json);
    WriteCut("shards.json", json.dump());
    const std::string message = Refusal();
    EXPECT_THAT(message, HasSubstr(lie.named));
    EXPECT_TRUE(std::ranges::all_of(message, [](char c) { return c >= ' ' && c <= '~'; }));
  }
  std::string twice = right.dump();
  twice.insert(1, R"("version":1,)");
  const std::string deep = std::string(100, '[') + std::string(100, ']');
  for (const std::string& text : {std::string(), std::string("{"), std::string("[]"),
                                  std::string("null"), std::string("\xff\xfe"), twice, deep}) {
    WriteCut("shards.json", text);
    EXPECT_THAT(Refusal(), HasSubstr("shards.json"));
  }
  WriteCut("shards.json", right.dump());
  EXPECT_TRUE(Join().ok()) << "control";
}

// The digests of all shards are right, and so is the list: the file of model.json is another one.
TEST_F(CutDirectoryTest, AListThatIsRightOfWrongShardsIsHeldAgainstModelJson) {
  ASSERT_TRUE(Cut().ok());
  FlipBit(PathOf("cut/") + kSecond, 1);
  OrderedJson json = ShardListJson();
  json["files"][0]["shards"][1]["sha256"] =
      Sha256::HexDigestOf(ReadWholeFile(PathOf("cut/") + kSecond));
  WriteCut("shards.json", json.dump());
  EXPECT_THAT(Refusal(), AllOf(HasSubstr(kUnetFile), HasSubstr("its shards together")));
}

TEST_F(CutDirectoryTest, OtherFilesThatAHubPutsThereDoNotMatter) {
  ASSERT_TRUE(Cut().ok());
  WriteCut("README.md", "a card");
  WriteCut(".gitattributes", "*.part-* filter=lfs");
  WriteCut("unet.packed.safetensors.part-of-it", "no shard's name");
  ASSERT_TRUE(Join().ok());
  EXPECT_EQ(FilesIn("joined"), FilesIn("out"));
}

TEST_F(CutDirectoryTest, ADamagedSourceIsRefusedByNameAndLeavesNothing) {
  FlipBit(PathOf("out/") + kUnetFile, 1);
  const auto list = Cut();
  EXPECT_EQ(list.status().reason(), "CHECKSUM_MISMATCH");
  EXPECT_THAT(list.status().message(), HasSubstr(kUnetFile));
  EXPECT_THAT(In(""), UnorderedElementsAre("model", "out"));
}

TEST_F(CutDirectoryTest, AnInterruptedCutGoesOnFromItsFinishedShards) {
  const auto stopped = Cut(StopAt(kLast));
  EXPECT_EQ(stopped.status().reason(), "PACKING_STOPPED");
  std::string partial;
  for (const std::string& name : In("")) {
    if (name.starts_with(".cut.")) partial = name;
  }
  EXPECT_THAT(stopped.status().message(), HasSubstr("kept in " + partial));
  EXPECT_THAT(In(partial), UnorderedElementsAre(kFirst, kSecond, "finished.json"));
  const auto time = std::filesystem::last_write_time(PathOf(partial + "/" + kFirst));
  FlipBit(PathOf(partial + "/" + kSecond), 1);
  ASSERT_TRUE(Cut().ok());
  EXPECT_EQ(std::filesystem::last_write_time(PathOf("cut/") + kFirst), time) << "taken over";
  EXPECT_THAT(In("cut"), Not(Contains("finished.json")));
  ASSERT_TRUE(Join().ok());
  EXPECT_EQ(FilesIn("joined"), FilesIn("out"));
}

TEST_F(CutDirectoryTest, AnInterruptedJoinGoesOnAndOneThatOnlyCheckedLeavesNothing) {
  ASSERT_TRUE(Cut().ok());
  EXPECT_EQ(Join(StopAt("checking")).status().reason(), "PACKING_STOPPED");
  EXPECT_THAT(In(""), UnorderedElementsAre("model", "out", "cut"));
  const auto stopped = Join(StopAt("other files"));
  EXPECT_EQ(stopped.status().reason(), "PACKING_STOPPED");
  std::string partial;
  for (const std::string& name : In("")) {
    if (name.starts_with(".joined.")) partial = name;
  }
  EXPECT_THAT(In(partial), Contains(kUnetFile));
  FlipBit(PathOf(partial + "/" + kUnetFile), 1);
  ASSERT_TRUE(Join().ok());
  EXPECT_EQ(FilesIn("joined"), FilesIn("out"));
  EXPECT_THAT(In(""), UnorderedElementsAre("model", "out", "cut", "joined"));
}

TEST_F(CutDirectoryTest, ProgressReachesTheWholeAndNeverGoesBack) {
  int64_t last_bytes = 0;
  int64_t all = 0;
  const DirectoryProgress watch = [&](const std::string&, int64_t done_bytes, int64_t all_bytes) {
    EXPECT_GE(done_bytes, last_bytes);
    last_bytes = done_bytes;
    all = all_bytes;
    return true;
  };
  ASSERT_TRUE(Cut(watch).ok());
  EXPECT_EQ(last_bytes, all);
  last_bytes = 0;
  ASSERT_TRUE(Join(watch).ok());
  EXPECT_EQ(last_bytes, all);
}

TEST(IsShardName, TellsShardsFromNamesThatOnlyLookAlike) {
  for (const std::string name : {kFirst, "a.part-1-of-2", "x/y.part-999-of-999"}) {
    EXPECT_TRUE(IsShardName(name)) << name;
  }
  for (const std::string name :
       {"", "a", "a.part-1", "a-of-2", "a.part--of-", "a.part-x-of-2", "a.part-1-of-2.txt",
        "a-of-2.part-1", "model-00001-of-00002.safetensors"}) {
    EXPECT_FALSE(IsShardName(name)) << name;
  }
}

}  // namespace
}  // namespace tightfit
