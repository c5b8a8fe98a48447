// `tightfit generate --from-png`, and what the server warns of.
#include "server/image/png.h"
#include "tests/unit/client/cli/run_command.h"
#include "tests/unit/client/scripted_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>
#include <string>

namespace tightfit::cli::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using namespace tightfit::testing;  // NOLINT: the script's vocabulary

constexpr char kText[] =
    "a (red:1.2) apple\nNegative prompt: \nSteps: 9, Sampler: Euler, Schedule type: Karras, CFG "
    "scale: 3.5, Seed: 77, Size: 64x32, Model hash: 0123456789, Model: apples, Clip skip: 3, RNG: "
    "CPU, CFG Rescale: 0.7, Emphasis: No norm, Comma backtrack: 5, Timestep spacing: trailing, "
    "Crop top left: \"8,4\", Weight format: hf8, Prompt 2: pear, Version: tightfit 0.1.0";

class RedrawCommandTest : public ::testing::Test {
 protected:
  RedrawCommandTest()
      : server_({
            .stream_images =
                [this](grpc::ServerContext&, const auto& request, StreamWriter& writer) {
                  seen_ = request.parameters();
                  if (!warns_) return StreamWholeRequest(request, writer);
                  v1::StreamImagesResponse start = StartedEvent(42, 1, 1);
                  v1::Warning& warning = *start.mutable_started()->add_warnings();
                  FillWarning(&warning);
                  writer.Write(start);
                  writer.Write(ChunkEvent(0, 0, "ab", 2, true));
                  writer.Write(CompletedEvent(42, 1));
                  return grpc::Status::OK;
                },
            .list_models =
                [this](const auto&, v1::ListModelsResponse& reply) {
                  for (const std::string name : {"pears", "apples"}) {
                    v1::Model& model = *reply.add_models();
                    model.set_name(name);
                    model.set_hash(name == "apples" ? hash_ : "9999999999");
                    model.set_format("hf8");
                  }
                  return grpc::Status::OK;
                },
            .estimate_images =
                [this](const v1::EstimateImagesRequest& request,
                       v1::EstimateImagesResponse& reply) {
                  seen_ = request.parameters();
                  if (warns_) FillWarning(reply.add_warnings());
                  return grpc::Status::OK;
                },
        }) {}

  static void FillWarning(v1::Warning* warning) {
    warning->set_reason("LORA_IGNORED");
    warning->set_field("prompt");
    warning->set_offset_bytes(10);
    warning->set_text("<lora:\x1b[31mx:0.8>");
    warning->set_message("LoRAs are not loaded;\nleave it out");
  }

  // An image of one pixel with this text.
  std::string Png(const std::string& text) {
    const auto bytes = EncodePng({1, 1, {1, 2, 3}}, {{"parameters", text}});
    const std::string name = "drawn.png";
    std::ofstream file(folder_.path() / name, std::ios::binary);
    file.write(reinterpret_cast<const char*>(bytes->data()), std::ssize(*bytes));
    return name;
  }

  RunResult Generate(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "generate");
    arguments.insert(arguments.end(), {"--server", server_.address()});
    return RunTightfit({.arguments = std::move(arguments), .directory = folder_.path()});
  }

  bool warns_ = false;
  std::string hash_ = "0123456789";
  v1::ImageParameters seen_;
  TemporaryFolder folder_;
  const ScriptedServer server_;
};

TEST_F(RedrawCommandTest, AsksForEverythingThatTheImageSays) {
  const RunResult run = Generate({"--from-png", Png(kText), "-q"});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_EQ(run.err, "");
  EXPECT_EQ(run.out, "tightfit-77.png\n");
  v1::ImageParameters wanted;
  wanted.set_model("apples");
  wanted.set_prompt("a (red:1.2) apple");
  wanted.set_prompt_2("pear");
  wanted.set_negative_prompt("");
  wanted.set_width_px(64);
  wanted.set_height_px(32);
  wanted.set_step_count(9);
  wanted.set_guidance_scale(3.5f);
  wanted.set_guidance_rescale(0.7f);
  wanted.set_sampler("euler-karras");
  wanted.set_seed(77);
  wanted.mutable_crop_top_left()->set_left_px(8);
  wanted.mutable_crop_top_left()->set_top_px(4);
  wanted.set_prompt_syntax(v1::PROMPT_SYNTAX_WEIGHTED);
  wanted.set_clip_skip(1);
  wanted.set_timestep_spacing("trailing");
  wanted.set_comma_backtrack_tokens(5);
  EXPECT_EQ(seen_.DebugString(), wanted.DebugString());
}

TEST_F(RedrawCommandTest, FlagsGoBeforeTheImage) {
  const RunResult run = Generate(
      {"green pear", "--from-png",        Png(kText), "--seed",      "random", "--steps",
       "3",          "--sampler",         "Euler a",  "--model",     "pears",  "--prompt-syntax",
       "plain",      "--count",           "2",        "--clip-skip", "0",      "--timestep-spacing",
       "leading",    "--comma-backtrack", "0"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(seen_.prompt(), "green pear");
  EXPECT_FALSE(seen_.has_seed());
  EXPECT_EQ(seen_.step_count(), 3);
  EXPECT_EQ(seen_.sampler(), "Euler a");
  EXPECT_EQ(seen_.model(), "pears");
  EXPECT_EQ(seen_.prompt_syntax(), v1::PROMPT_SYNTAX_PLAIN);
  EXPECT_EQ(seen_.image_count(), 2);
  EXPECT_EQ(seen_.clip_skip(), 0);
  EXPECT_EQ(seen_.timestep_spacing(), "leading");
  EXPECT_TRUE(seen_.has_comma_backtrack_tokens());
  EXPECT_EQ(seen_.comma_backtrack_tokens(), 0);
  EXPECT_EQ(seen_.guidance_scale(), 3.5f) << "the rest stays the image's";
}

TEST_F(RedrawCommandTest, NeedsWhatTheImageWasDrawnOverAgain) {
  std::string text = kText;
  text.replace(text.find("RNG: "), 0, "Denoising strength: 0.7, ");
  const std::string png = Png(text);
  const RunResult run = Generate({"--from-png", png});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.err, HasSubstr("give it by --init-image"));
  ASSERT_EQ(Generate({"--from-png", png, "--init-image", png, "-q"}).exit_code, 0);
  EXPECT_EQ(seen_.strength(), 0.7);
  EXPECT_TRUE(seen_.has_init_image());
  EXPECT_EQ(seen_.width_px(), 64) << "the size that it was drawn in";
  ASSERT_EQ(Generate({"--from-png", png, "--init-image", png, "--strength", "0.5"}).exit_code, 0);
  EXPECT_EQ(seen_.strength(), 0.5);
}

TEST_F(RedrawCommandTest, NeedsTheMaskThatTheImageWasDrawnInAgain) {
  std::string text = kText;
  text.replace(text.find("RNG: "), 0,
               "Denoising strength: 0.7, Mask blur: 4, Inpaint area: Only masked, Masked area "
               "padding: 48, ");
  const std::string png = Png(text);
  EXPECT_THAT(Generate({"--from-png", png}).err, HasSubstr("give it by --init-image"));
  const RunResult run = Generate({"--from-png", png, "--init-image", png});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.err, HasSubstr("was drawn in a mask, which is not in it; give it by --mask"));
  ASSERT_EQ(Generate({"--from-png", png, "--init-image", png, "--mask", png, "-q"}).exit_code, 0);
  EXPECT_EQ(seen_.mask_blur_px(), 4);
  EXPECT_EQ(seen_.inpaint_area(), v1::INPAINT_AREA_MASKED);
  EXPECT_EQ(seen_.inpaint_padding_px(), 48);
  ASSERT_EQ(Generate({"--from-png", png, "--init-image", png, "--mask", png, "--inpaint-area",
                      "whole-image"})
                .exit_code,
            0);
  EXPECT_EQ(seen_.inpaint_area(), v1::INPAINT_AREA_WHOLE_IMAGE);
  EXPECT_FALSE(seen_.has_inpaint_padding_px()) << "which goes with the other";
}

TEST_F(RedrawCommandTest, MakesTheImageLargerAgain) {
  std::string text = kText;
  text.replace(text.find("RNG: "), 0, "Denoising strength: 0.7, Mask blur: 0, ");
  text.replace(text.find("Version: "), 0, "Outpaint: \"0,8,16,0\", ");
  const std::string png = Png(text);
  ASSERT_EQ(Generate({"--from-png", png, "--init-image", png, "-q"}).exit_code, 0);
  EXPECT_EQ(seen_.outpaint().left_px(), 0);
  EXPECT_EQ(seen_.outpaint().top_px(), 8);
  EXPECT_EQ(seen_.outpaint().right_px(), 16);
  EXPECT_FALSE(seen_.has_mask());
}

TEST_F(RedrawCommandTest, NotesThatAnotherProgramDrewInAMask) {
  const std::string png =
      Png("a\nSteps: 9, Sampler: Euler, Seed: 1, RNG: CPU, Denoising strength: 0.7, Model: apples, "
          "Mask blur: 4, Inpaint area: Only masked, Masked area padding: 32, Version: v1.10.1");
  const RunResult run = Generate({"--from-png", png, "--init-image", png});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_THAT(run.err, HasSubstr("drawn in a mask; give it by --mask"));
  EXPECT_FALSE(seen_.has_mask_blur_px());
  EXPECT_FALSE(seen_.has_inpaint_area());
  EXPECT_FALSE(seen_.has_inpaint_padding_px());
  ASSERT_EQ(Generate({"--from-png", png, "--init-image", png, "--mask", png}).exit_code, 0);
  EXPECT_EQ(seen_.mask_blur_px(), 4);
  EXPECT_EQ(seen_.inpaint_area(), v1::INPAINT_AREA_MASKED);
  ASSERT_EQ(Generate({"--from-png", png}).exit_code, 0);
  EXPECT_FALSE(seen_.has_mask_blur_px());
}

TEST_F(RedrawCommandTest, NotesThatAnotherProgramDrewOverAnImage) {
  const RunResult run = Generate(
      {"--from-png", Png("a\nSteps: 9, Sampler: Euler, Seed: 1, RNG: CPU, Denoising strength: 0.7, "
                         "Model: apples, Version: v1.10.1")});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_THAT(run.err, HasSubstr("drawn over another image; give it by --init-image"));
  EXPECT_FALSE(seen_.has_strength());
}

TEST_F(RedrawCommandTest, NotesWhatDiffersAlsoWhenQuiet) {
  hash_ = "5555555555";
  const std::string file =
      Png("a cat\nSteps: 9, Sampler: Euler a, Seed: 7, Size: 64x32, Model hash: 0123456789, Model: "
          "apples, Lora hashes: \"\x1b[31m: 1\", Version: v1.9");
  const RunResult run = Generate({"--from-png", file, "-q", "--json"});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_THAT(run.err, StartsWith("note: its noise was drawn on a GPU"));
  EXPECT_THAT(run.err, HasSubstr("\nnote: not done here: Lora hashes: \"?[31m: 1\"\n"));
  EXPECT_THAT(run.err, HasSubstr("\nnote: its model had the hash 0123456789, here it has "
                                 "5555555555: pixels differ\n"));
  EXPECT_EQ(nlohmann::json::parse(run.out)["notes"].size(), 3u);
}

TEST_F(RedrawCommandTest, RefusesInOneLineWhatItCannotDrawAgain) {
  std::ofstream(folder_.path() / "text.png") << "GIF89a";
  std::ofstream(folder_.path() / "empty.png");
  const std::string no_list = Png("a cat");
  const auto refused = [&](const std::string& file, const char* what) {
    const RunResult run = Generate({"--from-png", file});
    EXPECT_EQ(run.exit_code, 2) << file;
    EXPECT_THAT(run.err, StartsWith("error: --from-png: "));
    EXPECT_THAT(run.err, HasSubstr(what));
    EXPECT_EQ(std::count(run.err.begin(), run.err.end(), '\n'), 2) << run.err;
  };
  refused("text.png", "text.png: it is no PNG file");
  refused("empty.png", "empty");
  refused("missing.png", "missing.png");
  refused(no_list, "no list");
  std::string latents(kText);
  latents.insert(latents.find(", Version"), ", Denoising start: 0.8");
  refused(Png(latents), "--initial-latents");
  EXPECT_EQ(server_.call_count(), 0);
}

TEST_F(RedrawCommandTest, AnUnknownModelIsNamed) {
  std::string text(kText);
  text.replace(text.find("Model: apples"), 13, "Model: plums");
  hash_ = "5555555555";
  const RunResult run = Generate({"--from-png", Png(text)});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_EQ(run.err,
            "error: the server has no model plums to draw the image with; name one of its own; "
            "the server has pears, apples [MODEL_NOT_FOUND]\n");
}

TEST_F(RedrawCommandTest, TakesRandomSeeds) {
  for (const char* seed : {"random", "-1"}) {
    EXPECT_EQ(Generate({"apple", "--seed", seed}).exit_code, 0);
    EXPECT_FALSE(seen_.has_seed()) << seed;
  }
  EXPECT_EQ(Generate({"apple", "--seed", "-2"}).exit_code, 0);
  EXPECT_EQ(seen_.seed(), -2) << "the server's to refuse";
  const RunResult run = Generate({"apple", "--seed", "Random!"});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.err, HasSubstr("--seed: must be a whole number, not \"Random!\""));
}

TEST_F(RedrawCommandTest, TellsWhatTheServerWarnsOf) {
  warns_ = true;
  const std::string line =
      "warning: prompt: \"<lora:?[31mx:0.8>\": LoRAs are not loaded; leave it out\n";
  for (const char* flag : {"--quiet", "--json", "--estimate"}) {
    const RunResult run = Generate({"apple", flag});
    EXPECT_EQ(run.exit_code, 0);
    EXPECT_THAT(run.err, HasSubstr(line)) << flag;
  }
  EXPECT_EQ(Generate({"apple", "-q"}).err, line);
  for (const char* flag : {"--json", "--estimate"}) {
    auto json = nlohmann::json::parse(Generate({"apple", "--json", flag}).out);
    if (json.contains("estimate")) json = json["estimate"];
    const auto& warning = json["warnings"][0];
    EXPECT_EQ(warning["reason"], "LORA_IGNORED");
    EXPECT_EQ(warning["field"], "prompt");
    EXPECT_EQ(warning["offset_bytes"], 10);
    EXPECT_EQ(warning["text"], "<lora:\x1b[31mx:0.8>");
  }
}

TEST_F(RedrawCommandTest, EstimatesWhatAnImageWouldTake) {
  const RunResult run = Generate({"--from-png", Png(kText), "--estimate", "--json"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(seen_.seed(), 77);
  EXPECT_TRUE(nlohmann::json::parse(run.out)["notes"].empty());
}

}  // namespace
}  // namespace tightfit::cli::testing
