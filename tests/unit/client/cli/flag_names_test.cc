#include "client/cli/flag_names.h"

#include "tests/unit/client/cli/run_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <tightfit/v1/image_generation.pb.h>

namespace tightfit::cli {
namespace {

using ::testing::HasSubstr;

TEST(FlagNamesTest, FieldsBecomeOptionsAndOtherWordsStay) {
  EXPECT_EQ(WithFlagNames("width_px: must be a multiple of 8"), "--width: must be a multiple of 8");
  EXPECT_EQ(WithFlagNames("original_size.width_px: must be 1 to 8192"),
            "--original-size: must be 1 to 8192");
  EXPECT_EQ(WithFlagNames("denoising_end: must be above denoising_start"),
            "--denoising-end: must be above --denoising-start");
  EXPECT_EQ(WithFlagNames("model: is required, because several models are configured"),
            "--model: is required, because several models are configured");
  EXPECT_EQ(WithFlagNames("prompt: the prompt and its seed"), "prompt: the prompt and its seed");
  EXPECT_EQ(WithFlagNames("image_count."), "--count.");
  EXPECT_EQ(WithFlagNames("my_width_px width_pxx"), "my_width_px width_pxx");
  EXPECT_EQ(WithFlagNames(""), "");
}

// Those without an option of their own are a word of the command line, the name of the output, or
// --no-metadata.
TEST(FlagNamesTest, EveryFieldOfARequestIsNamedByAnOptionThatThereIs) {
  const std::string help = testing::RunTightfit({.arguments = {"generate", "--help"}}).out;
  const auto& fields = *tightfit::v1::ImageParameters::descriptor();
  for (int i = 0; i < fields.field_count(); ++i) {
    const std::string name(fields.field(i)->name());
    if (name == "mime_type" || name == "embed_metadata" || name == "prompt") continue;
    const std::string flag = WithFlagNames(name);
    EXPECT_TRUE(flag.starts_with("--")) << name;
    EXPECT_THAT(help, HasSubstr(flag + " ")) << name;
  }
}

}  // namespace
}  // namespace tightfit::cli
