// A model directory whose four weight files are the sample, and what becomes of it.
#ifndef TIGHTFIT_TESTS_UNIT_WEIGHTS_SAMPLE_DIRECTORY_H_
#define TIGHTFIT_TESTS_UNIT_WEIGHTS_SAMPLE_DIRECTORY_H_

#include "server/weights/packed_directory.h"
#include "tests/unit/model/good_manifest.h"
#include "tests/unit/weights/packing_sample.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <string>

namespace tightfit {

using OrderedJson = nlohmann::ordered_json;

class SampleDirectory : public ::testing::Test {
 protected:
  SampleDirectory() {
    manifest_ = OrderedJson::parse(GoodManifest().dump());
    manifest_["zz_of_somebody_else"] = {{"b", 1}, {"a", 2.5e-5}};
    std::string lines;
    for (const std::string name : {"unet", "text_encoder", "text_encoder_2", "vae"}) {
      auto& component = manifest_["components"][name];
      component["weights"] = Write(name + ".safetensors", sample_.bytes());
      component["graphs"]["fp32"] = Write(name + ".fp32.ts", name + "'s graph");
      component["license"] = "of this component";
      lines += name + " " + sample_.sha256() + "\n";
    }
    manifest_["hash"] = Sha256::HexDigestOf(lines);
    for (const std::string name : {"tokenizer", "tokenizer_2"}) {
      for (const std::string file : {"vocab.json", "merges.txt"}) {
        manifest_["tokenizers"][name][file] = Write(name + "/" + file, name + file);
      }
    }
    WriteManifestFile();
  }

  OrderedJson Write(const std::string& name, const std::string& bytes) {
    directory_.Write("model/" + name, bytes);
    return {{"file", name}, {"bytes", bytes.size()}, {"sha256", Sha256::HexDigestOf(bytes)}};
  }

  void WriteManifestFile() { directory_.Write("model/model.json", manifest_.dump(1)); }

  DirectoryPacking Packing(const std::string& formats = "unet=hf8,text_encoder_2=q8b32") {
    return {.model = PathOf("model"),
            .out = PathOf("out"),
            .formats = *ParseComponentFormats(formats, kDefaultScope),
            .exclude = {},
            .version = "1.2.3",
            .worth_keeping_bytes = 1};
  }

  Result<DirectoryPackingReport> Pack(const DirectoryPacking& packing,
                                      const DirectoryProgress& progress = {}) {
    return PackDirectory(packing, {}, progress);
  }

  // Stops when a component begins.
  static DirectoryProgress StopAt(const std::string& what) {
    return [what](const std::string& now, int64_t, int64_t) { return now != what; };
  }

  std::string PathOf(const std::string& name) const { return directory_.path() + "/" + name; }

  // Names in a directory, "" of the one that holds the model.
  std::set<std::string> In(const std::string& name) const {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(PathOf(name))) {
      names.insert(entry.path().filename());
    }
    return names;
  }

  // The only hidden directory.
  std::string Partial() const {
    for (const std::string& name : In("")) {
      if (name.starts_with(".out.")) return name;
    }
    return {};
  }

  static void FlipBit(const std::string& path, int64_t from_end) {
    std::string bytes = ReadWholeFile(path);
    bytes[bytes.size() - static_cast<size_t>(from_end)] ^= 1;
    std::ofstream(path, std::ios::binary) << bytes;
  }

  const PackingSample sample_;
  const TemporaryDirectory directory_;
  OrderedJson manifest_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_UNIT_WEIGHTS_SAMPLE_DIRECTORY_H_
