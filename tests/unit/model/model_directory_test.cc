#include "server/model/model_directory.h"

#include "server/model/sha256.h"
#include "tests/unit/model/good_manifest.h"
#include "tests/unit/model/temporary_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <functional>
#include <string>
#include <vector>

namespace tightfit {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;

Result<ModelDirectory> ReadText(const std::string& manifest) {
  const TemporaryDirectory directory;
  directory.Write("model.json", manifest);
  return ReadModelDirectory(directory.path());
}

TEST(ModelDirectoryTest, ReadsEveryFieldOfAGoodManifest) {
  const auto model = ReadText(GoodManifest().dump());
  ASSERT_TRUE(model.ok()) << model.status().ForLog();
  EXPECT_EQ((*model).name, "small");
  EXPECT_EQ((*model).license, "CC0-1.0");
  EXPECT_EQ((*model).hash, GoodManifest()["hash"]);
  EXPECT_EQ((*model).scheduler.class_name, "EulerDiscreteScheduler");
  EXPECT_EQ((*model).scheduler.num_train_timesteps, 500);
  EXPECT_DOUBLE_EQ((*model).scheduler.beta_start, 0.001);
  EXPECT_DOUBLE_EQ((*model).scheduler.beta_end, 0.02);
  EXPECT_EQ((*model).scheduler.beta_schedule, "linear");
  EXPECT_EQ((*model).scheduler.timestep_spacing, "trailing");
  EXPECT_EQ((*model).scheduler.steps_offset, 0);
  EXPECT_DOUBLE_EQ((*model).vae_scaling_factor, 0.25);
  EXPECT_TRUE((*model).vae_force_upcast);
  EXPECT_EQ((*model).pixels_per_latent, 4);
  EXPECT_FALSE((*model).force_zeros_for_empty_prompt);
  EXPECT_EQ((*model).default_width_px, 64);
  EXPECT_EQ((*model).default_height_px, 96);
  EXPECT_EQ((*model).default_step_count, 25);
  EXPECT_FLOAT_EQ((*model).default_guidance_scale, 5.0f);
  EXPECT_EQ((*model).embedding_size, 160);
  EXPECT_EQ((*model).pooled_size, 96);
  EXPECT_EQ((*model).max_clip_skip, 2);
  EXPECT_EQ((*model).vae_sample_size_px, 128);
  EXPECT_EQ((*model).components.at("unet").graphs.at("fp32").file, "unet.fp32.ts");
  EXPECT_EQ((*model).components.at("vae").weights.bytes, 10);
  EXPECT_EQ((*model).tokenizers.at("tokenizer_2").at("vocab.json").file, "tokenizer_2/vocab.json");
}

TEST(ModelDirectoryTest, ReadsWhatTheNetworksTakeAndGive) {
  Json json = GoodManifest();
  json["family"] = "another";
  json["text"]["encoders"].erase(1);
  json["text"]["pooled_size"] = 0;
  json["components"].erase("text_encoder_2");
  json["tokenizers"].erase("tokenizer_2");
  json["time_ids"] = Json::array();
  json["hash"] = Sha256::HexDigestOf("unet " + std::string(kDigest) + "\ntext_encoder " + kDigest +
                                     "\nvae " + kDigest + "\n");
  const auto model = ReadText(json.dump());
  ASSERT_TRUE(model.ok()) << model.status().ForLog();
  EXPECT_THAT((*model).components.at("unet").inputs, ElementsAre("a", "b"));
  EXPECT_THAT((*model).components.at("unet").outputs, ElementsAre("c"));
  ASSERT_EQ((*model).text_encoders.size(), 1u);
  EXPECT_EQ((*model).text_encoders[0].tokenizer, "tokenizer");
  EXPECT_TRUE((*model).time_ids.empty());
  EXPECT_THAT(ComponentNamesOf(*model), ElementsAre("unet", "text_encoder", "vae"));
}

TEST(ModelDirectoryTest, TakesDirectoriesOfSchema2ForSdxls) {
  Json json = GoodManifest();
  json["schema_version"] = 2;
  json.erase("time_ids");
  json["text"].erase("encoders");
  for (Json& component : json["components"]) {
    component.erase("inputs");
    component.erase("outputs");
  }
  const auto model = ReadText(json.dump());
  ASSERT_TRUE(model.ok()) << model.status().ForLog();
  EXPECT_EQ((*model).text_encoders.size(), 2u);
  EXPECT_EQ((*model).time_ids.size(), 6u);
  EXPECT_THAT(
      (*model).components.at("unet").inputs,
      ElementsAre("sample", "timestep", "encoder_hidden_states", "text_embeds", "time_ids"));
  json["family"] = "sd1";
  EXPECT_FALSE(ReadText(json.dump()).ok());
}

TEST(ModelDirectoryTest, ClipsCleanLatentsIfToldSo) {
  Json json = GoodManifest();
  const auto range_of = [&json] {
    const auto model = ReadText(json.dump());
    return model.ok() ? (*model).scheduler.clip_sample_range : -1.0;
  };
  EXPECT_EQ(range_of(), 0.0);
  json["scheduler"]["clip_sample_range"] = 2.5;
  EXPECT_EQ(range_of(), 0.0);
  json["scheduler"]["clip_sample"] = false;
  EXPECT_EQ(range_of(), 0.0);
  json["scheduler"]["clip_sample"] = true;
  EXPECT_EQ(range_of(), 2.5);
  json["scheduler"].erase("clip_sample_range");
  EXPECT_EQ(range_of(), 1.0);
  json["scheduler"]["clip_sample_range"] = 0.0;
  EXPECT_EQ(range_of(), -1.0);
}

TEST(ModelDirectoryTest, TakesTheHashOfTheSingleFileThatTheModelWas) {
  const std::string of_file(64, 'a');
  Json manifest = GoodManifest();
  manifest["hash"] = of_file;
  EXPECT_FALSE(ReadText(manifest.dump()).ok());
  manifest["source"] = {{"kind", "single_file"}, {"sha256", of_file}};
  const auto model = ReadText(manifest.dump());
  ASSERT_TRUE(model.ok()) << model.status().ForLog();
  EXPECT_EQ((*model).hash, of_file);
  manifest["source"]["sha256"] = std::string(64, 'b');
  EXPECT_FALSE(ReadText(manifest.dump()).ok());
}

TEST(ModelDirectoryTest, TakesATokenizerJsonInPlaceOfTwoFiles) {
  Json json = GoodManifest();
  json["tokenizers"]["tokenizer"] = {{"tokenizer.json", ListedJson("tokenizer/tokenizer.json")}};
  const auto model = ReadText(json.dump());
  ASSERT_TRUE(model.ok()) << model.status().ForLog();
  EXPECT_EQ((*model).tokenizers.at("tokenizer").size(), 1u);
}

struct BadManifest {
  const char* what;
  std::function<void(Json&)> spoil;
  const char* expected;  // within the message
};

std::vector<BadManifest> BadManifests() {
  return {
      {"no schema version", [](Json& j) { j.erase("schema_version"); }, "schema_version"},
      {"a fractional version", [](Json& j) { j["schema_version"] = 1.5; }, "schema_version"},
      {"no name", [](Json& j) { j.erase("name"); }, "name"},
      {"a long name", [](Json& j) { j["name"] = std::string(256, 'x'); }, "name"},
      {"a hash in capitals", [](Json& j) { j["hash"] = std::string(64, 'A'); }, "hash"},
      {"a hash of other weights", [](Json& j) { j["hash"] = kDigest; }, "hash"},
      {"a source that is no object", [](Json& j) { j["hash"] = kDigest, j["source"] = "x"; },
       "source"},
      {"no components", [](Json& j) { j.erase("components"); }, "components"},
      {"a list of components", [](Json& j) { j["components"] = Json::array(); }, "components"},
      {"no vae", [](Json& j) { j["components"].erase("vae"); }, "components.vae"},
      {"no graphs", [](Json& j) { j["components"]["vae"]["graphs"] = Json::object(); },
       "components.vae.graphs"},
      {"an unknown dtype",
       [](Json& j) { j["components"]["vae"]["graphs"]["int8"] = ListedJson("x.ts"); },
       "components.vae.graphs.int8"},
      {"a parent directory",
       [](Json& j) { j["components"]["unet"]["weights"]["file"] = "../unet.safetensors"; },
       "components.unet.weights.file"},
      {"a parent directory within",
       [](Json& j) { j["components"]["unet"]["weights"]["file"] = "a/../../unet.safetensors"; },
       "components.unet.weights.file"},
      {"an absolute name",
       [](Json& j) { j["components"]["unet"]["weights"]["file"] = "/etc/passwd"; },
       "components.unet.weights.file"},
      {"an empty name", [](Json& j) { j["components"]["unet"]["weights"]["file"] = ""; },
       "components.unet.weights.file"},
      {"a name with a null byte",
       [](Json& j) { j["components"]["unet"]["weights"]["file"] = std::string("a\0b", 3); },
       "components.unet.weights.file"},
      {"a negative size", [](Json& j) { j["components"]["unet"]["weights"]["bytes"] = -1; },
       "components.unet.weights.bytes"},
      {"a size beyond 2^63",
       [](Json& j) { j["components"]["unet"]["weights"]["bytes"] = 18446744073709551615u; },
       "components.unet.weights.bytes"},
      {"a size that is a text", [](Json& j) { j["components"]["unet"]["weights"]["bytes"] = "10"; },
       "components.unet.weights.bytes"},
      {"a short digest", [](Json& j) { j["components"]["unet"]["weights"]["sha256"] = "00"; },
       "components.unet.weights.sha256"},
      {"no parameters", [](Json& j) { j["components"]["unet"]["parameter_count"] = 0; },
       "components.unet.parameter_count"},
      {"no pixels per latent", [](Json& j) { j["pixels_per_latent"] = 0; }, "pixels_per_latent"},
      {"65 pixels per latent", [](Json& j) { j["pixels_per_latent"] = 65; }, "pixels_per_latent"},
      {"a width between latents", [](Json& j) { j["defaults"]["width_px"] = 63; },
       "defaults.width_px"},
      {"no steps", [](Json& j) { j["defaults"]["step_count"] = 0; }, "defaults.step_count"},
      {"a guidance scale of -1", [](Json& j) { j["defaults"]["guidance_scale"] = -1; },
       "defaults.guidance_scale"},
      {"a scaling factor of 0", [](Json& j) { j["vae"]["scaling_factor"] = 0; },
       "vae.scaling_factor"},
      {"a flag that is a number", [](Json& j) { j["force_zeros_for_empty_prompt"] = 1; },
       "force_zeros_for_empty_prompt"},
      {"another text length", [](Json& j) { j["text"]["max_length"] = 248; }, "text.max_length"},
      {"a huge embedding", [](Json& j) { j["text"]["embedding_size"] = 65537; },
       "text.embedding_size"},
      {"no vocabulary", [](Json& j) { j["tokenizers"]["tokenizer"].erase("vocab.json"); },
       "tokenizers.tokenizer.vocab.json"},
      {"no second tokenizer", [](Json& j) { j["tokenizers"].erase("tokenizer_2"); },
       "tokenizers.tokenizer_2"},
      {"no inputs", [](Json& j) { j["components"]["unet"].erase("inputs"); },
       "components.unet.inputs"},
      {"outputs that are a text", [](Json& j) { j["components"]["vae"]["outputs"] = "image"; },
       "components.vae.outputs"},
      {"no text encoders", [](Json& j) { j["text"].erase("encoders"); }, "text.encoders"},
      {"a text encoder that is none of the components",
       [](Json& j) { j["text"]["encoders"][0]["component"] = "unet"; }, "text.encoders"},
      {"a text encoder that is not listed", [](Json& j) { j["text"]["encoders"].erase(1); },
       "text.encoders"},
      {"no timesteps", [](Json& j) { j["scheduler"]["num_train_timesteps"] = 0; },
       "scheduler.num_train_timesteps"},
      {"no tile size", [](Json& j) { j["vae"].erase("sample_size_px"); }, "vae.sample_size_px"},
      {"a tile between latents", [](Json& j) { j["vae"]["sample_size_px"] = 66; },
       "vae.sample_size_px"},
      {"no clip skip", [](Json& j) { j["text"].erase("max_clip_skip"); }, "text.max_clip_skip"},
      {"a beta above 1", [](Json& j) { j["scheduler"]["beta_end"] = 1.5; }, "scheduler.beta_end"},
  };
}

TEST(ModelDirectoryTest, RefusesABadManifestNamingTheKey) {
  for (const BadManifest& bad : BadManifests()) {
    Json json = GoodManifest();
    bad.spoil(json);
    const auto model = ReadText(json.dump());
    ASSERT_FALSE(model.ok()) << bad.what;
    EXPECT_EQ(model.status().code(), StatusCode::kFailedPrecondition) << bad.what;
    EXPECT_EQ(model.status().reason(), "BAD_MODEL_DIRECTORY") << bad.what;
    EXPECT_THAT(model.status().message(), HasSubstr(bad.expected)) << bad.what;
  }
}

TEST(ModelDirectoryTest, RefusesTextThatIsNoJsonObject) {
  for (const std::string text : {"", "[]", "{", "null", "{} {}", "\xff"}) {
    const auto model = ReadText(text);
    ASSERT_FALSE(model.ok()) << text;
    EXPECT_EQ(model.status().reason(), "BAD_MODEL_DIRECTORY") << text;
  }
}

TEST(ModelDirectoryTest, SurvivesDeepNesting) {
  const auto model = ReadText(std::string(1000000, '[') + std::string(1000000, ']'));
  EXPECT_EQ(model.status().reason(), "BAD_MODEL_DIRECTORY");
  EXPECT_FALSE(ReadText("{\"a\":" + std::string(1000000, '[')).ok());
}

TEST(ModelDirectoryTest, RefusesAManifestAbove1MiB) {
  const std::string padding((1 << 20) + 1, ' ');
  const auto model = ReadText(GoodManifest().dump() + padding);
  EXPECT_EQ(model.status().reason(), "BAD_MODEL_DIRECTORY");
  EXPECT_THAT(model.status().message(), HasSubstr("1 MiB"));
}

TEST(ModelDirectoryTest, SaysWhichModelsThisBuildCannotServe) {
  const std::vector<BadManifest> unsupported = {
      {"version 1", [](Json& j) { j["schema_version"] = 1; }, "export the model again"},
      {"version 4", [](Json& j) { j["schema_version"] = 4; }, "schema_version"},
      {"sample prediction", [](Json& j) { j["prediction_type"] = "sample"; }, "prediction_type"},
      {"betas of its own",
       [](Json& j) {
         j["scheduler"]["trained_betas"] = {0.1, 0.2};
       },
       "trained_betas"},
      {"beta sigmas", [](Json& j) { j["scheduler"]["use_beta_sigmas"] = true; }, "use_beta_sigmas"},
      {"thresholding", [](Json& j) { j["scheduler"]["thresholding"] = true; }, "thresholding"},
      {"continuous timesteps", [](Json& j) { j["scheduler"]["timestep_type"] = "continuous"; },
       "timestep_type"},
      {"a shifted VAE", [](Json& j) { j["vae"]["shift_factor"] = 0.1; }, "shift_factor"},
      {"cosine betas", [](Json& j) { j["scheduler"]["beta_schedule"] = "squaredcos_cap_v2"; },
       "beta_schedule"},
      {"an unknown spacing", [](Json& j) { j["scheduler"]["timestep_spacing"] = "random"; },
       "timestep_spacing"},
  };
  for (const BadManifest& bad : unsupported) {
    Json json = GoodManifest();
    bad.spoil(json);
    const auto model = ReadText(json.dump());
    ASSERT_FALSE(model.ok()) << bad.what;
    EXPECT_EQ(model.status().code(), StatusCode::kUnimplemented) << bad.what;
    EXPECT_THAT(model.status().message(), HasSubstr(bad.expected)) << bad.what;
  }
}

TEST(ModelDirectoryTest, NamesAMissingManifestWithoutItsPath) {
  const auto model = ReadModelDirectory("/no/such/directory");
  ASSERT_FALSE(model.ok());
  EXPECT_EQ(model.status().reason(), "FILE_MISSING");
  EXPECT_EQ(model.status().message().find("/no/such"), std::string::npos);
}

// A directory with one file, listed as it is.
class ReadListedFileTest : public ::testing::Test {
 protected:
  ReadListedFileTest() {
    temporary_.Write("f.bin", "some bytes");
    model_.path = temporary_.path();
    listed_ = {.file = "f.bin", .bytes = 10, .sha256 = Sha256::HexDigestOf("some bytes")};
  }
  Result<std::string> Read(int64_t max_bytes = 100) {
    return ReadListedFile(model_.path, listed_, max_bytes);
  }

  TemporaryDirectory temporary_;
  ModelDirectory model_;
  ListedFile listed_;
};

TEST_F(ReadListedFileTest, ReturnsTheBytesOfAnIntactFile) {
  const auto bytes = Read();
  ASSERT_TRUE(bytes.ok()) << bytes.status().ForLog();
  EXPECT_EQ(*bytes, "some bytes");
}

TEST_F(ReadListedFileTest, RefusesAnotherSize) {
  for (const char* content : {"some byte", "some bytes!", ""}) {
    temporary_.Write("f.bin", content);
    EXPECT_EQ(Read().status().reason(), "FILE_TRUNCATED") << content;
    EXPECT_EQ(Read().status().code(), StatusCode::kDataLoss);
  }
}

TEST_F(ReadListedFileTest, RefusesOneChangedBit) {
  temporary_.Write("f.bin", "some bytfs");
  EXPECT_EQ(Read().status().reason(), "CHECKSUM_MISMATCH");
  EXPECT_THAT(Read().status().message(), HasSubstr("f.bin"));
}

TEST_F(ReadListedFileTest, RefusesAMissingFile) {
  listed_.file = "g.bin";
  EXPECT_EQ(Read().status().reason(), "FILE_MISSING");
  EXPECT_THAT(Read().status().message(), HasSubstr("g.bin"));
}

TEST_F(ReadListedFileTest, RefusesAFileAboveTheLimit) {
  EXPECT_TRUE(Read(10).ok());
  EXPECT_EQ(Read(9).status().reason(), "BAD_MODEL_DIRECTORY");
}

Json WithEncoder() {
  Json json = GoodManifest();
  json["components"][kVaeEncoder] = {{"inputs", {"image"}},
                                     {"outputs", {"moments"}},
                                     {"parameter_count", 12},
                                     {"graphs", {{"fp32", ListedJson("vae_encoder.fp32.ts")}}},
                                     {"weights", ListedJson("vae_encoder.safetensors")}};
  return json;
}

TEST(ModelDirectoryTest, AVaeEncoderMayBeThereAndChangesNoHash) {
  const auto without = ReadText(GoodManifest().dump());
  const auto with = ReadText(WithEncoder().dump());
  ASSERT_TRUE(without.ok() && with.ok()) << with.status().message();
  EXPECT_FALSE(without->components.contains(kVaeEncoder));
  EXPECT_EQ(with->components.at(kVaeEncoder).weights.file, "vae_encoder.safetensors");
  EXPECT_EQ(with->hash, without->hash);
  EXPECT_EQ(ComponentNamesOf(*without),
            std::vector<std::string>({"unet", "text_encoder", "text_encoder_2", "vae"}));
  EXPECT_EQ(ComponentNamesOf(*with).back(), kVaeEncoder);
  EXPECT_EQ(ComponentNamesOf(*with).size(), 5u);
}

TEST(ModelDirectoryTest, AVaeEncoderIsCheckedAsTheOtherComponents) {
  const auto message = [](auto change) {
    Json json = WithEncoder();
    change(json["components"][kVaeEncoder]);
    return ReadText(json.dump()).status().message();
  };
  EXPECT_THAT(message([](auto& encoder) {
                encoder["graphs"] = {{"bf16", ListedJson("vae_encoder.bf16.ts")}};
              }),
              HasSubstr("must have one in fp32"));
  EXPECT_THAT(message([](auto& encoder) { encoder.erase("weights"); }),
              HasSubstr("vae_encoder.weights"));
  EXPECT_THAT(message([](auto& encoder) {
                encoder["weights"]["packed"] = {{"version", 1},
                                                {"format", "fp16"},
                                                {"index_sha256", kDigest},
                                                {"original_sha256", kDigest}};
              }),
              HasSubstr("is packed and others are not"));
}

}  // namespace
}  // namespace tightfit
