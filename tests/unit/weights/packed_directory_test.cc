#include "server/weights/packed_directory.h"

#include "server/model/model_manifest.h"
#include "server/weights/directory_check.h"
#include "server/weights/partial_directory.h"
#include "server/weights/sensitivity.h"
#include "tests/unit/weights/sample_directory.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <string>
#include <vector>

namespace tightfit {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

class PackedDirectoryTest : public SampleDirectory {
 protected:
  // Layers of the sample, each of which counts more than the one before.
  void ListSensitivity(const std::string& weights_sha256 = {}) {
    Sensitivity sensitivity{
        .weights_sha256 = weights_sha256.empty() ? sample_.sha256() : weights_sha256,
        .scope = "linear+conv",
        .measured_formats = {"nf4"},
        .sampler = "euler",
        .step_count = 1,
        .prompt_count = 1,
        .width_px = 64,
        .height_px = 64,
        .formats = {WeightFormat::kE2m5r, WeightFormat::kNf4},
        .layers = {},
        .joint = {{"e2m5r", 1e-4, 1e-4, 45.0}, {"nf4", 1e-2, 1e-2, 25.0}}};
    double error = 1e-6;
    for (const std::string layer : {"b.to_q", "c.conv", "d.point", "e.proj", "h.left_out"}) {
      sensitivity.layers[layer] = {error, error * 100};
      error *= 4;
    }
    manifest_["sensitivity"] = Write("sensitivity.json", SensitivityText(sensitivity));
    WriteManifestFile();
  }
};

TEST_F(PackedDirectoryTest, APackedDirectoryIsReadAsAModelAndNeedsNothingOfTheOriginal) {
  const auto report = Pack(Packing());
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_THAT(In(""), UnorderedElementsAre("model", "out"));
  std::filesystem::remove_all(PathOf("model"));
  const auto model = ReadModelDirectory(PathOf("out"));
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(model->hash, manifest_["hash"].get<std::string>());
  std::vector<std::string> formats;
  for (const PackedComponent& component : report->components) {
    const auto& packed = model->components.at(component.name).packed;
    ASSERT_TRUE(packed.has_value());
    EXPECT_EQ(packed->original_sha256, sample_.sha256());
    formats.push_back(component.name + " " + packed->format);
  }
  EXPECT_THAT(formats,
              ElementsAre("unet hf8", "text_encoder fp16", "text_encoder_2 q8b32", "vae fp16"));
  const auto check = CheckDirectory(PathOf("out"), 2, {});
  ASSERT_TRUE(check.ok());
  EXPECT_THAT(check->damaged, IsEmpty());
  EXPECT_EQ(check->file_count, 4 + 4 + 4);
  EXPECT_EQ(check->tensor_count, 4 * std::ssize(sample_.names()));
}

// Of a safetensors file, behind its header.
std::string DataOf(const std::string& file) {
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data(), sizeof(header_bytes));
  return file.substr(sizeof(header_bytes) + header_bytes);
}

TEST_F(PackedDirectoryTest, TheVaeEncoderGoesThroughAndCountsInNoHash) {
  auto& encoder = manifest_["components"]["vae_encoder"];
  encoder["inputs"] = {"image"};
  encoder["outputs"] = {"moments"};
  encoder["parameter_count"] = 12;
  encoder["weights"] = Write("vae_encoder.safetensors", sample_.bytes());
  encoder["graphs"]["fp32"] = Write("vae_encoder.fp32.ts", "the encoder's graph");
  WriteManifestFile();
  const auto packed = Pack(Packing());
  ASSERT_TRUE(packed.ok()) << packed.status().message();
  EXPECT_EQ(packed->hash, manifest_["hash"].get<std::string>());
  ASSERT_EQ(packed->components.size(), 5u);
  EXPECT_EQ(packed->components.back().name, "vae_encoder");
  EXPECT_EQ(packed->components.back().file.format, "fp16");
  EXPECT_THAT(CheckDirectory(PathOf("out"), 2, {})->damaged, IsEmpty());

  const auto unpacked = UnpackDirectory(PathOf("out"), PathOf("dense"), {}, {});
  ASSERT_TRUE(unpacked.ok()) << unpacked.status().message();
  EXPECT_FALSE(unpacked->is_original()) << "the UNet was packed";
  const auto model = ReadModelDirectory(PathOf("dense"));
  ASSERT_TRUE(model.ok()) << model.status().message() << ": the hash is over four components";
  EXPECT_EQ(DataOf(ReadWholeFile(PathOf("dense/vae_encoder.safetensors"))),
            DataOf(sample_.bytes()));
  EXPECT_EQ(ReadWholeFile(PathOf("dense/vae_encoder.fp32.ts")), "the encoder's graph");

  FlipBit(PathOf("out/vae_encoder.packed.safetensors"), 1);
  EXPECT_EQ(CheckDirectory(PathOf("out"), 2, {})->damaged.size(), 1u);
}

TEST_F(PackedDirectoryTest, EverythingElseOfModelJsonStaysInItsOrder) {
  ASSERT_TRUE(Pack(Packing()).ok());
  auto written = OrderedJson::parse(ReadWholeFile(PathOf("out/model.json")));
  for (const auto& [name, component] : written["components"].items()) {
    component["weights"] = manifest_["components"][name]["weights"];
  }
  EXPECT_EQ(written.dump(), manifest_.dump());
}

TEST_F(PackedDirectoryTest, AnInterruptedRunGoesOnFromItsFinishedFiles) {
  ASSERT_TRUE(Pack(Packing()).ok());
  const std::string whole = ReadWholeFile(PathOf("out/model.json"));
  std::filesystem::remove_all(PathOf("out"));

  const auto stopped = Pack(Packing(), StopAt("text_encoder_2"));
  EXPECT_EQ(stopped.status().reason(), "PACKING_STOPPED");
  EXPECT_THAT(stopped.status().message(), HasSubstr("kept in " + Partial()));
  EXPECT_THAT(In(Partial()),
              UnorderedElementsAre("unet.packed.safetensors", "text_encoder.packed.safetensors",
                                   "finished.json"));
  // What a killed run leaves beside.
  directory_.Write(Partial() + "/.vae.packed.safetensors.AbCdEf", "half");

  const auto report = Pack(Packing());
  ASSERT_TRUE(report.ok()) << report.status().message();
  std::vector<bool> finished;
  for (const PackedComponent& component : report->components) {
    finished.push_back(component.was_finished);
  }
  EXPECT_THAT(finished, ElementsAre(true, true, false, false));
  EXPECT_THAT(report->components[0].file.dense_modules, testing::SizeIs(2))
      << "the report of a file that was finished is whole";
  EXPECT_EQ(ReadWholeFile(PathOf("out/model.json")), whole);
  EXPECT_THAT(CheckDirectory(PathOf("out"), 1, {})->damaged, IsEmpty());
  EXPECT_THAT(In(""), UnorderedElementsAre("model", "out"));
  EXPECT_FALSE(In("out").contains("finished.json"));
}

TEST_F(PackedDirectoryTest, ADamagedFileOfAnInterruptedRunIsMadeAgain) {
  EXPECT_FALSE(Pack(Packing(), StopAt("text_encoder_2")).ok());
  FlipBit(PathOf(Partial() + "/unet.packed.safetensors"), 1);
  const auto report = Pack(Packing());
  ASSERT_TRUE(report.ok());
  EXPECT_FALSE(report->components[0].was_finished);
  EXPECT_TRUE(report->components[1].was_finished);
  EXPECT_THAT(CheckDirectory(PathOf("out"), 1, {})->damaged, IsEmpty());
}

TEST_F(PackedDirectoryTest, FilesOfOtherFormatsVersionsAndModelsAreNotTakenOver) {
  const std::vector<std::function<void(DirectoryPacking*)>> changes = {
      [](DirectoryPacking* packing) { packing->formats["unet"].format = "hf12"; },
      [](DirectoryPacking* packing) { packing->formats["unet"].scope = "linear"; },
      [](DirectoryPacking* packing) { packing->exclude = {"b.to_q"}; },
      [](DirectoryPacking* packing) { packing->version = "1.2.4"; },
      [this](DirectoryPacking*) {
        manifest_["license"] = "another";
        WriteManifestFile();
      }};
  for (size_t i = 0; i < changes.size(); ++i) {
    EXPECT_FALSE(Pack(Packing(), StopAt("vae")).ok());
    DirectoryPacking packing = Packing();
    changes[i](&packing);
    const auto report = Pack(packing);
    ASSERT_TRUE(report.ok()) << i;
    EXPECT_FALSE(report->components[0].was_finished) << i;
    EXPECT_THAT(In(""), UnorderedElementsAre("model", "out")) << "nothing is left of the other run";
    std::filesystem::remove_all(PathOf("out"));
  }
}

TEST_F(PackedDirectoryTest, LittleIsNotWorthKeepingAndLeavesNoParentsEither) {
  DirectoryPacking packing = Packing();
  packing.out = PathOf("new/deep/out/");
  packing.worth_keeping_bytes = 1 << 30;
  const auto stopped = Pack(packing, StopAt("vae"));
  EXPECT_EQ(stopped.status().message(), "nothing was written");
  EXPECT_THAT(In(""), ElementsAre("model"));
  EXPECT_TRUE(Pack(packing).ok());
  EXPECT_THAT(In("new/deep"), ElementsAre("out"));
}

TEST_F(PackedDirectoryTest, TwoRunsToOnePlaceDoNotMix) {
  EXPECT_FALSE(Pack(Packing(), StopAt("vae")).ok());
  const std::string partial = Partial();
  const int descriptor = open(PathOf(partial).c_str(), O_RDONLY);
  ASSERT_EQ(flock(descriptor, LOCK_EX | LOCK_NB), 0);
  EXPECT_THAT(Pack(Packing()).status().message(),
              HasSubstr("another run is at work in " + partial));
  EXPECT_TRUE(In(partial).contains("unet.packed.safetensors"));
  close(descriptor);
  EXPECT_TRUE(Pack(Packing()).ok()) << "control";
}

TEST_F(PackedDirectoryTest, DamagedSourcesAreRefusedByNameAndLeaveNothing) {
  for (const std::string file : {"vae.safetensors", "unet.fp32.ts", "tokenizer_2/vocab.json"}) {
    FlipBit(PathOf("model/" + file), 2);
    const auto report = Pack(Packing());
    EXPECT_EQ(report.status().reason(), "CHECKSUM_MISMATCH") << file;
    EXPECT_THAT(report.status().message(), HasSubstr(file));
    EXPECT_THAT(In(""), ElementsAre("model"));
    FlipBit(PathOf("model/" + file), 2);
  }
  std::filesystem::resize_file(PathOf("model/vae.fp32.ts"), 3);
  EXPECT_EQ(Pack(Packing()).status().reason(), "FILE_TRUNCATED");
  EXPECT_THAT(In(""), ElementsAre("model"));
}

TEST_F(PackedDirectoryTest, RefusesWhatIsThereAndWhatIsPackedOrIsNot) {
  std::filesystem::create_directory(PathOf("out"));
  ASSERT_TRUE(Pack(Packing()).ok()) << "an empty directory is as none";
  EXPECT_THAT(Pack(Packing()).status().message(), HasSubstr("it exists"));
  DirectoryPacking again = Packing();
  again.model = PathOf("out");
  again.out = PathOf("again");
  EXPECT_EQ(Pack(again).status().reason(), "ALREADY_PACKED");
  EXPECT_THAT(Pack(again).status().message(), HasSubstr("unpack it first"));
  EXPECT_EQ(UnpackDirectory(PathOf("model"), PathOf("again"), {}, {}).status().reason(),
            "NOT_PACKED");
  EXPECT_THAT(In(""), UnorderedElementsAre("model", "out"));
}

TEST_F(PackedDirectoryTest, UnpackingWhatLostSomethingGivesAnotherHash) {
  ASSERT_TRUE(Pack(Packing()).ok());
  const auto report = UnpackDirectory(PathOf("out"), PathOf("dense"), InThreads(2), {});
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_FALSE(report->is_original());
  EXPECT_NE(report->hash, report->original_hash);
  const auto model = ReadModelDirectory(PathOf("dense"));
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(model->hash, report->hash);
  EXPECT_FALSE(model->components.at("unet").packed.has_value());
  EXPECT_THAT(CheckDirectory(PathOf("dense"), 1, {})->damaged, IsEmpty());
  const auto json = OrderedJson::parse(ReadWholeFile(PathOf("dense/model.json")));
  EXPECT_EQ(json["unpacked_from"]["hash"], manifest_["hash"]);
  EXPECT_EQ(json["unpacked_from"]["formats"]["unet"], "hf8");
}

TEST_F(PackedDirectoryTest, ABudgetGivesLayersTheirOwnFormats) {
  ListSensitivity();
  DirectoryPacking packing = Packing("text_encoder_2=nf4");
  packing.budget_mib = 1.0;
  const auto ample = Pack(packing);
  ASSERT_TRUE(ample.ok()) << ample.status().message();
  EXPECT_EQ(ample->components[0].file.format, "fp16") << "nothing has to be packed";

  packing.out = PathOf("small");
  packing.budget_mib = 0.0001;
  const Status refused = Pack(packing).status();
  ASSERT_THAT(refused.message(), HasSubstr("--budget-mib: 0.0001 MiB are too few"));
  const std::string message = refused.message();
  const double least_mib = std::stod(message.substr(message.rfind(' ')));
  packing.budget_mib = least_mib;
  const auto small = Pack(packing);
  ASSERT_TRUE(small.ok()) << small.status().message();

  packing.out = PathOf("between");
  packing.budget_mib = least_mib + 0.001;
  const auto between = Pack(packing);
  ASSERT_TRUE(between.ok()) << between.status().message();
  EXPECT_EQ(between->components[0].file.format, "mixed");
  EXPECT_GT(between->components[0].file.packed_bytes, small->components[0].file.packed_bytes);
  EXPECT_GT(*between->predicted_psnr_db, *small->predicted_psnr_db);
  EXPECT_EQ(between->components[2].file.format, "nf4");

  const auto model = ReadModelDirectory(PathOf("between"));
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(model->components.at("unet").packed->format, "mixed");
  EXPECT_FALSE(model->sensitivity.has_value()) << "it is of the weights that were packed";
  EXPECT_THAT(CheckDirectory(PathOf("between"), 1, {})->damaged, IsEmpty());
}

TEST_F(PackedDirectoryTest, AMinimumPsnrTakesTheFewestBytesThatReachIt) {
  ListSensitivity();
  DirectoryPacking packing = Packing("unet=fp16");
  int64_t last_bytes = 0;
  for (const double psnr_db : {10.0, 35.0, 45.0, 90.0}) {
    packing.out = PathOf("out" + std::to_string(static_cast<int>(psnr_db)));
    packing.min_psnr_db = psnr_db;
    const auto report = Pack(packing);
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_GE(*report->predicted_psnr_db, psnr_db);
    EXPECT_GE(report->components[0].file.bytes, last_bytes);
    last_bytes = report->components[0].file.bytes;
  }
}

TEST_F(PackedDirectoryTest, ABudgetNeedsWhatWasMeasuredOnTheseWeights) {
  DirectoryPacking packing = Packing("unet=fp16");
  packing.budget_mib = 1.0;
  EXPECT_EQ(Pack(packing).status().reason(), "SENSITIVITY_MISSING");
  EXPECT_THAT(Pack(packing).status().message(), HasSubstr("tightfit fidelity --sensitivity"));
  ListSensitivity(std::string(64, '0'));
  EXPECT_THAT(Pack(packing).status().message(), HasSubstr("other weights"));
  ListSensitivity();
  EXPECT_TRUE(Pack(packing).ok());
  FlipBit(PathOf("model/sensitivity.json"), 3);
  packing.out = PathOf("again");
  EXPECT_EQ(Pack(packing).status().reason(), "CHECKSUM_MISMATCH");
  EXPECT_FALSE(CheckDirectory(PathOf("model"), 1, {})->damaged.empty());
}

TEST_F(PackedDirectoryTest, AStoppedUnpackingLeavesNothing) {
  ASSERT_TRUE(Pack(Packing()).ok());
  for (const std::string what : {"unet", "vae", "graphs and tokenizers"}) {
    EXPECT_EQ(UnpackDirectory(PathOf("out"), PathOf("dense"), {}, StopAt(what)).status().reason(),
              "PACKING_STOPPED");
    EXPECT_THAT(In(""), UnorderedElementsAre("model", "out"));
  }
}

TEST_F(PackedDirectoryTest, ProgressReachesTheWholeAndNeverGoesBack) {
  int64_t last_bytes = 0;
  int64_t all = 0;
  ASSERT_TRUE(Pack(Packing(), [&](const std::string&, int64_t done_bytes, int64_t all_bytes) {
                EXPECT_GE(done_bytes, last_bytes);
                last_bytes = done_bytes;
                all = all_bytes;
                return true;
              }).ok());
  EXPECT_EQ(last_bytes, all);
}

TEST_F(PackedDirectoryTest, EveryKindOfDamageIsFoundByName) {
  ASSERT_TRUE(Pack(Packing()).ok());
  const auto damage = [&](int threads) {
    std::vector<std::string> found;
    const auto report = CheckDirectory(PathOf("out"), threads, {});
    EXPECT_TRUE(report.ok());
    for (const DamagedPart& part : report->damaged) {
      found.push_back(part.file + ":" + part.tensor + ":" + part.status.reason());
    }
    return found;
  };
  FlipBit(PathOf("out/unet.packed.safetensors"), 1);  // within the last tensor
  const std::string vae = PathOf("out/vae.packed.safetensors");
  std::string bytes = ReadWholeFile(vae);
  bytes[bytes.find("weight")] = 'W';
  std::ofstream(vae, std::ios::binary) << bytes;
  FlipBit(PathOf("out/tokenizer/merges.txt"), 1);
  std::filesystem::remove(PathOf("out/text_encoder.fp32.ts"));
  std::filesystem::resize_file(PathOf("out/text_encoder.packed.safetensors"), 100);
  for (const int threads : {1, 4}) {
    EXPECT_THAT(damage(threads),
                ElementsAre("unet.packed.safetensors:h.left_out.weight:CHECKSUM_MISMATCH",
                            "text_encoder.packed.safetensors::FILE_TRUNCATED",
                            "vae.packed.safetensors::CHECKSUM_MISMATCH",
                            "text_encoder.fp32.ts::FILE_MISSING",
                            "tokenizer/merges.txt::CHECKSUM_MISMATCH"));
  }
}

TEST_F(PackedDirectoryTest, NoRoomOnTheDiskIsToldBeforeAnythingIsWritten) {
  EXPECT_EQ(CheckDiskSpace(PathOf("out"), int64_t{1} << 60).reason(), "DISK_FULL");
  EXPECT_TRUE(CheckDiskSpace(PathOf("new/deep/out"), 1).ok());
}

}  // namespace
}  // namespace tightfit
