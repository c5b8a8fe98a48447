#include "server/pipeline/families.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

namespace tightfit {
namespace {

using ::testing::HasSubstr;

ModelDirectory Sdxl() {
  ModelDirectory directory;
  directory.family = "sdxl";
  directory.text_encoders = {{"text_encoder", "tokenizer"}, {"text_encoder_2", "tokenizer_2"}};
  directory.time_ids = {"original_height", "original_width", "crop_top",
                        "crop_left",       "target_height",  "target_width"};
  directory.components["unet"].inputs = {"sample", "timestep", "encoder_hidden_states",
                                         "text_embeds", "time_ids"};
  for (const char* name : {"text_encoder", "text_encoder_2"}) {
    directory.components[name].outputs = {"hidden_states", "pooled"};
  }
  return directory;
}

ModelDirectory Sd(const char* family) {
  ModelDirectory directory;
  directory.family = family;
  directory.text_encoders = {{"text_encoder", "tokenizer"}};
  directory.components["unet"].inputs = {"sample", "timestep", "encoder_hidden_states"};
  directory.components["text_encoder"].outputs = {"hidden_states"};
  return directory;
}

TEST(FamiliesTest, TakesWhatIsAsItsFamilySays) {
  for (const ModelDirectory& directory : {Sdxl(), Sd("sd1"), Sd("sd2")}) {
    EXPECT_TRUE(CheckFamily(directory).ok()) << directory.family;
  }
}

TEST(FamiliesTest, TakesDenoisersThatInpaintOrAreToldTheGuidanceScale) {
  ModelDirectory directory = Sd("sd1");
  std::vector<std::string>& inputs = directory.components["unet"].inputs;
  inputs.insert(inputs.end(), {"mask", "masked_image_latents", "guidance_embedding"});
  directory.guidance_embedding_size = 256;
  EXPECT_THAT(CheckFamily(directory).message(), HasSubstr("vae_encoder"));
  directory.components["vae_encoder"];
  EXPECT_TRUE(CheckFamily(directory).ok()) << CheckFamily(directory).ForLog();
  directory.guidance_embedding_size = 0;
  EXPECT_THAT(CheckFamily(directory).message(), HasSubstr("guidance_embedding_size"));
  directory.guidance_embedding_size = 256;
  directory.components["unet"].inputs.erase(directory.components["unet"].inputs.begin() + 3);
  EXPECT_THAT(CheckFamily(directory).message(), HasSubstr("must name mask once"));
}

TEST(FamiliesTest, RefusesAFamilyThatItDoesNotKnowAndNamesThose) {
  ModelDirectory directory = Sdxl();
  directory.family = "flux";
  const Status status = CheckFamily(directory);
  EXPECT_EQ(status.code(), StatusCode::kUnimplemented);
  EXPECT_THAT(status.message(), HasSubstr("sd1, sd2, sdxl"));
}

TEST(FamiliesTest, RefusesAModelThatIsNotAsItsFamilySays) {
  struct Case {
    const char* what;
    std::function<void(ModelDirectory&)> spoil;
    const char* named;
  };
  const std::vector<Case> cases = {
      {"another family's", [](ModelDirectory& d) { d.family = "sd1"; }, "text.encoders"},
      {"one encoder", [](ModelDirectory& d) { d.text_encoders.pop_back(); }, "text.encoders"},
      {"an input that no request has",
       [](ModelDirectory& d) { d.components["unet"].inputs.push_back("class_labels"); },
       "class_labels"},
      {"an input twice", [](ModelDirectory& d) { d.components["unet"].inputs.push_back("sample"); },
       "sample"},
      {"no timestep", [](ModelDirectory& d) { d.components["unet"].inputs[1] = "text_embeds"; },
       "timestep"},
      {"no pooled embedding to give",
       [](ModelDirectory& d) { d.components["text_encoder_2"].outputs.pop_back(); }, "pooled"},
      {"no numbers", [](ModelDirectory& d) { d.time_ids.clear(); }, "time_ids"},
      {"a number that no request has", [](ModelDirectory& d) { d.time_ids.push_back("aesthetic"); },
       "aesthetic"},
  };
  for (const Case& each : cases) {
    ModelDirectory directory = Sdxl();
    each.spoil(directory);
    const Status status = CheckFamily(directory);
    EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition) << each.what;
    EXPECT_THAT(status.message(), HasSubstr(each.named)) << each.what;
  }
  ModelDirectory directory = Sd("sd2");
  directory.time_ids = {"crop_top"};
  EXPECT_THAT(CheckFamily(directory).message(), HasSubstr("time_ids"));
}

}  // namespace
}  // namespace tightfit
