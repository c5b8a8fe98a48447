#include "tests/unit/client/bound_port.h"
#include "tests/unit/client/cli/run_command.h"
#include "tests/unit/client/scripted_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <future>
#include <string>

namespace tightfit::cli::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using namespace tightfit::testing;  // NOLINT: the script's vocabulary

grpc::Status WholeRequest(grpc::ServerContext&, const v1::StreamImagesRequest& request,
                          StreamWriter& writer) {
  return StreamWholeRequest(request, writer);
}

class GenerateCommandTest : public ::testing::Test {
 protected:
  RunResult Generate(const ScriptedServer& server, std::vector<std::string> arguments,
                     RunOptions options = {}) {
    arguments.insert(arguments.begin(), "generate");
    arguments.insert(arguments.end(), {"--server", server.address()});
    options.arguments = std::move(arguments);
    options.directory = folder_.path();
    return RunTightfit(options);
  }
  std::string Content(const std::string& name) const { return ReadFile(folder_.path() / name); }

  TemporaryFolder folder_;
  const ScriptedServer whole_{{.stream_images = WholeRequest}};
};

TEST_F(GenerateCommandTest, WritesTheNamedFileAndPrintsItsName) {
  const RunResult run = Generate(whole_, {"red apple", "-o", "apple.png"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(run.out, "apple.png\n");
  EXPECT_TRUE(Content("apple.png") == ImageContent(0, 1000));
  EXPECT_THAT(folder_.Names(), ElementsAre("apple.png"));
}

TEST_F(GenerateCommandTest, NamesFilesBySeedAndReplacesNone) {
  std::ofstream(folder_.path() / "tightfit-42.png") << "mine";
  EXPECT_EQ(Generate(whole_, {"apple"}).out, "tightfit-42-2.png\n");
  EXPECT_EQ(Generate(whole_, {"apple"}).out, "tightfit-42-3.png\n");
  EXPECT_EQ(Content("tightfit-42.png"), "mine");
  EXPECT_TRUE(Content("tightfit-42-3.png") == ImageContent(0, 1000));
}

TEST_F(GenerateCommandTest, OverwritesTheNamedFile) {
  std::ofstream(folder_.path() / "apple.png") << "old";
  EXPECT_EQ(Generate(whole_, {"apple", "-o", "apple.png"}).exit_code, 0);
  EXPECT_TRUE(Content("apple.png") == ImageContent(0, 1000));
}

TEST_F(GenerateCommandTest, NumbersSeveralImages) {
  const RunResult run = Generate(whole_, {"apple", "--count", "3", "-o", "apple.png"});
  EXPECT_EQ(run.out, "apple-1.png\napple-2.png\napple-3.png\n");
  EXPECT_THAT(folder_.Names(), ElementsAre("apple-1.png", "apple-2.png", "apple-3.png"));
  EXPECT_TRUE(Content("apple-3.png") == ImageContent(2, 1000));
}

TEST_F(GenerateCommandTest, FillsAFolderBySeed) {
  const RunResult run = Generate(whole_, {"apple", "--count", "2", "--seed", "7", "-o", "new/"});
  EXPECT_EQ(run.out, "new/tightfit-7.png\nnew/tightfit-8.png\n") << run.err;
  EXPECT_TRUE(Content("new/tightfit-8.png") == ImageContent(1, 1000));
}

TEST_F(GenerateCommandTest, PrintsOneJsonDocument) {
  const RunResult run =
      Generate(whole_, {"apple", "--count", "2", "--seed", "9007199254740993", "--json"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  const auto json = nlohmann::json::parse(run.out);
  EXPECT_EQ(json["request_id"], "request-1");
  EXPECT_EQ(json["parameters"]["model"], "apples");
  EXPECT_EQ(json["parameters"]["seed"], 9007199254740993);
  EXPECT_EQ(json["parameters"]["guidance_scale"], 7.1);
  EXPECT_EQ(json["parameters"]["guidance_rescale"], 0.3);
  EXPECT_EQ(json["parameters"]["target_size"]["height_px"], 34);
  EXPECT_EQ(json["parameters"]["crop_top_left"]["left_px"], 3);
  ASSERT_EQ(json["images"].size(), 2u);
  const auto& image = json["images"][1];
  EXPECT_EQ(image["index"], 1);
  EXPECT_EQ(image["seed"], 9007199254740994);
  EXPECT_EQ(image["file"], "tightfit-9007199254740994.png");
  EXPECT_EQ(image["mime_type"], "image/png");
  EXPECT_EQ(image["width_px"], 64);
  EXPECT_EQ(image["height_px"], 32);
  EXPECT_EQ(image["size_bytes"], 1000);
  EXPECT_EQ(json["timings"]["denoise_seconds"], 2.0);
  EXPECT_EQ(json["timings"]["total_seconds"], 3.5);
  EXPECT_FALSE(json.contains("error"));
  EXPECT_THAT(run.err, HasSubstr("apples 64x32 px"));
}

TEST_F(GenerateCommandTest, QuietLeavesOnlyTheNames) {
  const RunResult run = Generate(whole_, {"apple", "-q"});
  EXPECT_EQ(run.err, "");
  EXPECT_EQ(run.out, "tightfit-42.png\n");
}

TEST_F(GenerateCommandTest, TakesThePromptFromEverywhere) {
  std::string prompt;
  const ScriptedServer server(
      {.stream_images = [&](grpc::ServerContext&, const auto& request, StreamWriter& writer) {
        prompt = request.parameters().prompt();
        return StreamWholeRequest(request, writer);
      }});
  EXPECT_EQ(Generate(server, {"as a word"}).exit_code, 0);
  EXPECT_EQ(prompt, "as a word");
  EXPECT_EQ(Generate(server, {"--prompt", "by flag"}).exit_code, 0);
  EXPECT_EQ(prompt, "by flag");
  EXPECT_EQ(Generate(server, {"-"}, {.input = "two\nlines\n"}).exit_code, 0);
  EXPECT_EQ(prompt, "two\nlines");
  EXPECT_EQ(Generate(server, {"--prompt", "-"}, {.input = "no newline"}).exit_code, 0);
  EXPECT_EQ(prompt, "no newline");
  EXPECT_EQ(Generate(server, {"--prompt", ""}).exit_code, 0);
  EXPECT_EQ(prompt, "");
}

TEST_F(GenerateCommandTest, SendsEveryFlag) {
  v1::StreamImagesRequest seen;
  const ScriptedServer server(
      {.stream_images = [&](grpc::ServerContext&, const auto& request, StreamWriter& writer) {
        seen = request;
        return StreamWholeRequest(request, writer);
      }});
  const std::string latents = (folder_.path() / "a.safetensors").string();
  std::ofstream(latents) << "the latents";
  ASSERT_EQ(Generate(server, {"apple",
                              "--model",
                              "apples",
                              "--prompt-2",
                              "second",
                              "--negative-prompt",
                              "",
                              "--negative-prompt-2",
                              "blur",
                              "--width",
                              "70",
                              "--height",
                              "-8",
                              "--steps",
                              "3",
                              "--guidance",
                              "0.5",
                              "--sampler",
                              "euler-a",
                              "--seed",
                              "-2",
                              "--count",
                              "1",
                              "--original-size",
                              "100x200",
                              "--target-size",
                              "300x400",
                              "--crop-top-left",
                              "5,6",
                              "--request-id",
                              "id-9",
                              "--no-metadata",
                              "--guidance-rescale",
                              "0.7",
                              "--prompt-syntax",
                              "plain",
                              "--clip-skip",
                              "1",
                              "--timestep-spacing",
                              "linspace",
                              "--comma-backtrack",
                              "0",
                              "--denoising-start",
                              "0.25",
                              "--denoising-end",
                              "0.5",
                              "--initial-latents",
                              latents})
                .exit_code,
            0);
  const v1::ImageParameters& parameters = seen.parameters();
  EXPECT_EQ(seen.request_id(), "id-9");
  EXPECT_EQ(parameters.model(), "apples");
  EXPECT_EQ(parameters.prompt_2(), "second");
  EXPECT_TRUE(parameters.has_negative_prompt());
  EXPECT_EQ(parameters.negative_prompt(), "");
  EXPECT_EQ(parameters.negative_prompt_2(), "blur");
  EXPECT_EQ(parameters.width_px(), 70);
  EXPECT_EQ(parameters.height_px(), -8) << "ranges are the server's to refuse";
  EXPECT_EQ(parameters.step_count(), 3);
  EXPECT_EQ(parameters.guidance_scale(), 0.5f);
  EXPECT_EQ(parameters.guidance_rescale(), 0.7f);
  EXPECT_EQ(parameters.sampler(), "euler-a");
  EXPECT_EQ(parameters.seed(), -2);
  EXPECT_EQ(parameters.image_count(), 1);
  EXPECT_EQ(parameters.original_size().width_px(), 100);
  EXPECT_EQ(parameters.original_size().height_px(), 200);
  EXPECT_EQ(parameters.target_size().width_px(), 300);
  EXPECT_EQ(parameters.target_size().height_px(), 400);
  EXPECT_EQ(parameters.crop_top_left().left_px(), 5);
  EXPECT_EQ(parameters.crop_top_left().top_px(), 6);
  EXPECT_TRUE(parameters.has_embed_metadata());
  EXPECT_FALSE(parameters.embed_metadata());
  EXPECT_EQ(parameters.prompt_syntax(), v1::PROMPT_SYNTAX_PLAIN);
  EXPECT_EQ(parameters.clip_skip(), 1);
  EXPECT_EQ(parameters.timestep_spacing(), "linspace");
  EXPECT_TRUE(parameters.has_comma_backtrack_tokens());
  EXPECT_EQ(parameters.comma_backtrack_tokens(), 0);
  EXPECT_EQ(parameters.denoising_start(), 0.25f);
  EXPECT_EQ(parameters.denoising_end(), 0.5f);
  ASSERT_EQ(parameters.initial_latents_size(), 1);
  EXPECT_EQ(parameters.initial_latents(0), "the latents");
  EXPECT_FALSE(parameters.has_mime_type());
}

TEST_F(GenerateCommandTest, SendsWhatIsDrawnOver) {
  v1::StreamImagesRequest seen;
  const ScriptedServer server(
      {.stream_images = [&](grpc::ServerContext&, const auto& request, StreamWriter& writer) {
        seen = request;
        return StreamWholeRequest(request, writer);
      }});
  std::ofstream(folder_.path() / "in.png") << "an image";
  std::ofstream(folder_.path() / "hole.png") << "a mask";
  ASSERT_EQ(Generate(server, {"a worm", "--init-image", "in.png", "--strength", "0.7", "--mask",
                              "hole.png", "--no-keep-unmasked"})
                .exit_code,
            0);
  EXPECT_EQ(seen.parameters().init_image(), "an image");
  EXPECT_EQ(seen.parameters().mask(), "a mask");
  EXPECT_EQ(seen.parameters().strength(), 0.7) << "as a double";
  EXPECT_TRUE(seen.parameters().has_keep_unmasked_pixels());
  EXPECT_FALSE(seen.parameters().keep_unmasked_pixels());
  EXPECT_FALSE(seen.parameters().has_width_px()) << "the server takes the image's";
  ASSERT_EQ(Generate(server, {"a worm", "--init-image", "in.png"}).exit_code, 0);
  EXPECT_FALSE(seen.parameters().has_strength());
  EXPECT_FALSE(seen.parameters().has_mask());
  EXPECT_FALSE(seen.parameters().has_keep_unmasked_pixels());
}

TEST_F(GenerateCommandTest, SendsWhichPartOfItIsDrawn) {
  v1::StreamImagesRequest seen;
  const ScriptedServer server(
      {.stream_images = [&](grpc::ServerContext&, const auto& request, StreamWriter& writer) {
        seen = request;
        return StreamWholeRequest(request, writer);
      }});
  std::ofstream(folder_.path() / "in.png") << "an image";
  ASSERT_EQ(Generate(server, {"a worm", "--init-image", "in.png", "--mask", "in.png", "--mask-blur",
                              "4", "--inpaint-area", "masked", "--inpaint-padding", "48",
                              "--outpaint", "1,2,300,4"})
                .exit_code,
            0);
  EXPECT_EQ(seen.parameters().mask_blur_px(), 4);
  EXPECT_EQ(seen.parameters().inpaint_area(), v1::INPAINT_AREA_MASKED);
  EXPECT_EQ(seen.parameters().inpaint_padding_px(), 48);
  EXPECT_EQ(seen.parameters().outpaint().left_px(), 1);
  EXPECT_EQ(seen.parameters().outpaint().top_px(), 2);
  EXPECT_EQ(seen.parameters().outpaint().right_px(), 300);
  EXPECT_EQ(seen.parameters().outpaint().bottom_px(), 4);
  ASSERT_EQ(Generate(server, {"a worm", "--init-image", "in.png", "--inpaint-area", "whole-image"})
                .exit_code,
            0);
  EXPECT_EQ(seen.parameters().inpaint_area(), v1::INPAINT_AREA_WHOLE_IMAGE);
  EXPECT_FALSE(seen.parameters().has_mask_blur_px());
  EXPECT_FALSE(seen.parameters().has_inpaint_padding_px());
  EXPECT_FALSE(seen.parameters().has_outpaint());
}

TEST_F(GenerateCommandTest, RefusesMarginsThatAreNone) {
  const ScriptedServer server({});
  for (const char* const text : {"", "1", "1,2,3", "1,2,3,4,5", "1,2,3,", ",,,", "1;2;3;4",
                                 "1,2,3,x", "1,2,3,99999999999", " 1,2,3,4", "1.5,2,3,4"}) {
    const RunResult run = Generate(server, {"a worm", "--outpaint", text});
    EXPECT_EQ(run.exit_code, 2) << text;
    EXPECT_THAT(run.err, HasSubstr("--outpaint")) << text;
  }
  const RunResult area = Generate(server, {"a worm", "--inpaint-area", "all"});
  EXPECT_EQ(area.exit_code, 2);
  EXPECT_THAT(area.err, HasSubstr("--inpaint-area"));
}

TEST_F(GenerateCommandTest, NamesAnImageThatCannotBeRead) {
  const ScriptedServer server({});
  for (const char* const flag : {"--init-image", "--mask"}) {
    const RunResult run = Generate(server, {"a worm", flag, "none.png"});
    EXPECT_EQ(run.exit_code, 2);
    EXPECT_THAT(run.err, HasSubstr("cannot read none.png"));
    EXPECT_THAT(run.err, HasSubstr(flag));
  }
}

TEST_F(GenerateCommandTest, AsksForLatentsWhereTheFileIsNamedSo) {
  v1::StreamImagesRequest seen;
  const ScriptedServer server(
      {.stream_images = [&](grpc::ServerContext&, const auto& request, StreamWriter& writer) {
        seen = request;
        return StreamWholeRequest(request, writer);
      }});
  EXPECT_EQ(Generate(server, {"apple", "-o", "apple.safetensors"}).exit_code, 0);
  EXPECT_EQ(seen.parameters().mime_type(), "application/x-safetensors");
}

TEST_F(GenerateCommandTest, TellsOfPromptsThatWereCutOff) {
  const ScriptedServer server(
      {.stream_images = [](grpc::ServerContext&, const auto&, StreamWriter& writer) {
        writer.Write(StartedEvent(42, 1, 1));
        const std::string content = ImageContent(0, 1000);
        writer.Write(ChunkEvent(0, 0, content, 1000, true));
        v1::StreamImagesResponse end = CompletedEvent(42, 1);
        for (const auto& [field, used] : {std::pair("prompt", 75), std::pair("negative_prompt", 92),
                                          std::pair("negative_prompt_2", 0)}) {
          v1::PromptTokens& prompt = *end.mutable_completed()->add_prompt_tokens();
          prompt.set_field(field);
          prompt.set_token_count(92);
          prompt.set_used_token_count(used);
          prompt.set_chunk_count(2);
        }
        writer.Write(end);
        return grpc::Status::OK;
      }});
  const RunResult run = Generate(server, {"apple", "--json"});
  EXPECT_THAT(run.err, HasSubstr("prompt: the first 75 of 92 tokens were used\n"));
  EXPECT_THAT(run.err, Not(HasSubstr("negative_prompt")));
  const auto json = nlohmann::json::parse(run.out);
  EXPECT_EQ(json["prompt_tokens"][1]["used_token_count"], 92);
  EXPECT_EQ(json["prompt_tokens"][1]["chunk_count"], 2);
}

TEST_F(GenerateCommandTest, TellsEveryBadFieldOnALine) {
  const ScriptedServer server({.stream_images = [](auto&&...) {
    return MakeError({.message = "2 fields are wrong",
                      .reason = "INVALID_PARAMETER",
                      .violations = {{"width_px", "70 is not a multiple of 4"},
                                     {"sampler", "\x1b[31m\"x\" is none of euler, euler-a"}}});
  }});
  const RunResult run = Generate(server, {"apple", "--json", "--quiet"});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_EQ(run.err,
            "error: --width: 70 is not a multiple of 4\n"
            "error: --sampler: ?[31m\"x\" is none of euler, euler-a\n");
  const auto json = nlohmann::json::parse(run.out);
  EXPECT_EQ(json["error"]["code"], "INVALID_ARGUMENT");
  EXPECT_EQ(json["error"]["reason"], "INVALID_PARAMETER");
  EXPECT_EQ(json["error"]["field_violations"][0]["field"], "width_px");
  EXPECT_EQ(json["error"]["field_violations"][0]["description"], "70 is not a multiple of 4");
  EXPECT_TRUE(json["images"].empty());
  EXPECT_THAT(folder_.Names(), ElementsAre());
}

TEST_F(GenerateCommandTest, TellsWhenToTryAgain) {
  const ScriptedServer server({.stream_images = [](auto&&...) {
    return MakeError({.code = grpc::StatusCode::RESOURCE_EXHAUSTED,
                      .message = "the queue is full",
                      .reason = "QUEUE_FULL",
                      .retry_milliseconds = 2500});
  }});
  const RunResult run = Generate(server, {"apple", "--json"});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_EQ(run.err, "error: the queue is full; try again in 2.5 s [QUEUE_FULL]\n");
  EXPECT_EQ(nlohmann::json::parse(run.out)["error"]["retry_after_seconds"], 2.5);
}

TEST_F(GenerateCommandTest, SaysWhyItTriesAgain) {
  std::atomic<int> calls = 0;
  const ScriptedServer server(
      {.stream_images = [&](grpc::ServerContext&, const auto& request, StreamWriter& writer) {
        if (++calls == 1) {
          return MakeError({.code = grpc::StatusCode::UNAVAILABLE,
                            .message = "the model is loading",
                            .reason = "MODEL_LOADING",
                            .retry_milliseconds = 300});
        }
        return StreamWholeRequest(request, writer);
      }});
  const RunResult run = Generate(server, {"apple"});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_THAT(run.err, HasSubstr("the model is loading [MODEL_LOADING]; trying again in 0.3 s\n"));
}

TEST_F(GenerateCommandTest, TimeoutEndsTheCallAndKeepsWhatCame) {
  std::promise<bool> cancelled;
  const ScriptedServer server(
      {.stream_images = [&](grpc::ServerContext& context, const auto&, StreamWriter& writer) {
        writer.Write(StartedEvent(42, 2));
        writer.Write(ChunkEvent(0, 0, "ab", 2, true));
        cancelled.set_value(WaitForCancel(context));
        return grpc::Status::CANCELLED;
      }});
  const RunResult run = Generate(server, {"apple", "--timeout", "0.5", "--json"});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_THAT(run.err, EndsWith("error: not done within 0.5 s [DEADLINE_EXCEEDED]\n"));
  const auto json = nlohmann::json::parse(run.out);
  EXPECT_EQ(json["error"]["code"], "DEADLINE_EXCEEDED");
  EXPECT_EQ(json["images"][0]["file"], "tightfit-42.png");
  EXPECT_EQ(Content("tightfit-42.png"), "ab");
  EXPECT_TRUE(cancelled.get_future().get());
}

TEST_F(GenerateCommandTest, BrokenStreamsFailAndLeaveNoFile) {
  const ScriptedServer server(
      {.stream_images = [](grpc::ServerContext&, const auto&, StreamWriter& writer) {
        writer.Write(StartedEvent(42, 1));
        writer.Write(ChunkEvent(0, 0, "ab", 6, true));
        return grpc::Status::OK;
      }});
  const RunResult run = Generate(server, {"apple"});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_THAT(run.err, HasSubstr("error: image 0: it ended after 2 of 6 bytes [BROKEN_STREAM]"));
  EXPECT_THAT(folder_.Names(), ElementsAre());
}

TEST_F(GenerateCommandTest, AFileThatCannotBeWrittenStopsTheCall) {
  std::promise<bool> cancelled;
  const std::filesystem::path output = folder_.path() / "gone";
  std::filesystem::create_directory(output);
  const ScriptedServer server(
      {.stream_images = [&](grpc::ServerContext& context, const auto&, StreamWriter& writer) {
        std::filesystem::remove(output);
        writer.Write(StartedEvent(42, 2));
        writer.Write(ChunkEvent(0, 0, "ab", 2, true));
        cancelled.set_value(WaitForCancel(context));
        return grpc::Status::CANCELLED;
      }});
  const RunResult run = Generate(server, {"apple", "-o", "gone/apple.png"});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_THAT(run.err, EndsWith("error: cannot write gone: No such file or directory "
                                "[CANNOT_WRITE]\n"));
  EXPECT_TRUE(cancelled.get_future().get());
}

TEST_F(GenerateCommandTest, WithoutAServerItSaysSoWithinTheTimeout) {
  const BoundPort refused(/*listens=*/false);
  const std::string address = refused.address();
  const auto start = std::chrono::steady_clock::now();
  const RunResult run = RunTightfit(
      {.arguments = {"generate", "apple", "--wait", "--connect-timeout", "2.3", "--json"},
       .environment = {"TIGHTFIT_SERVER=" + address},
       .directory = folder_.path()});
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(8));
  EXPECT_EQ(run.exit_code, 3);
  EXPECT_EQ(run.err, "connecting to " + address + " ...\nerror: cannot connect to " + address +
                         " within 2.3 s; is tightfit-server running there? (--server, "
                         "TIGHTFIT_SERVER) [CANNOT_CONNECT]\n");
  EXPECT_EQ(nlohmann::json::parse(run.out)["error"]["reason"], "CANNOT_CONNECT");
}

TEST_F(GenerateCommandTest, OnAPipeProgressIsPlainLines) {
  const ScriptedServer server(
      {.stream_images = [](grpc::ServerContext&, const auto& request, StreamWriter& writer) {
        writer.Write(QueuedEvent(2));
        return StreamWholeRequest(request, writer);
      }});
  const RunResult run = Generate(server, {"apple"});
  EXPECT_EQ(run.err,
            "queued, 2 requests ahead, 0.0 s\n"
            "apples 64x32 px, 4 steps of euler, guidance 7.1, seed 42  [request-1]\n"
            "1 image in 3.5 s (4 steps in 2.0 s, 0.50 s/step), queued 0.2 s\n");
}

TEST_F(GenerateCommandTest, OnATerminalTheBarIsRedrawnInPlaceAndTakenAway) {
  const RunResult run = Generate(whole_, {"apple"}, {.terminal_columns = 100});
  EXPECT_EQ(run.exit_code, 0);
  // The later stages come too soon after it for a bar of their own.
  EXPECT_THAT(run.err, HasSubstr("\rencode text   ────────────────────────────────────────  0/4"));
  // The terminal turns \n into \r\n; only the start and the summary end a line.
  EXPECT_EQ(std::count(run.err.begin(), run.err.end(), '\n'), 2);
  EXPECT_THAT(run.err, HasSubstr("\r\x1b[K1 image in 3.5 s"));
}

TEST_F(GenerateCommandTest, NoColorAndLocaleAreHonoured) {
  RunOptions options;
  options.terminal_columns = 100;
  options.environment = {"NO_COLOR=1", "LC_ALL=C"};
  const RunResult run = Generate(whole_, {"apple"}, options);
  EXPECT_THAT(run.err, Not(HasSubstr("\x1b[3")));
  EXPECT_THAT(run.err, Not(HasSubstr("━")));
  EXPECT_THAT(run.err, HasSubstr("encode text   [--------------------------------------]  0/4"));
}

TEST_F(GenerateCommandTest, ADumbTerminalGetsPlainLines) {
  RunOptions options;
  options.terminal_columns = 100;
  options.environment = {"TERM=dumb"};
  EXPECT_THAT(Generate(whole_, {"apple"}, options).err, Not(HasSubstr("\x1b")));
}

}  // namespace
}  // namespace tightfit::cli::testing
