// Requests for a part of the denoising, for latents, for other ways to read a prompt.
#include "server/image/latents_file.h"
#include "tests/unit/rpc/rpc_fixture.h"

#include <string>

namespace tightfit {
namespace {

using ::testing::SizeIs;

constexpr char kSafetensors[] = "application/x-safetensors";

class DenoisingRequestsTest : public RpcFixture {
 protected:
  static const v1::ResolvedParameters& Resolved(const StreamResult& result) {
    return result.events.at(1).started().parameters();
  }
};

TEST_F(DenoisingRequestsTest, GiveTheWholeWeightedPromptAndAnImageUnlessToldOtherwise) {
  StartServer();
  const StreamResult result = Stream(Request());
  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  const v1::ResolvedParameters& resolved = Resolved(result);
  EXPECT_EQ(resolved.prompt_syntax(), v1::PROMPT_SYNTAX_WEIGHTED);
  EXPECT_EQ(resolved.clip_skip(), 0);
  EXPECT_EQ(resolved.denoising_start(), 0.0f);
  EXPECT_EQ(resolved.denoising_end(), 1.0f);
  EXPECT_EQ(resolved.vae_tile_px(), 0);
}

TEST_F(DenoisingRequestsTest, LatentsThatOneRequestLeavesAnotherGoesOnFrom) {
  StartServer();
  v1::StreamImagesRequest first = Request();
  v1::ImageParameters& asked = *first.mutable_parameters();
  asked.set_seed(7);
  asked.set_image_count(2);
  asked.set_denoising_end(0.8f);
  asked.set_mime_type(kSafetensors);
  v1::GenerateImagesRequest unary;
  *unary.mutable_parameters() = asked;
  grpc::ClientContext context;
  v1::GenerateImagesResponse response;
  const grpc::Status status = images_->GenerateImages(&context, unary, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_THAT(response.images(), SizeIs(2));
  EXPECT_EQ(response.images(1).metadata().mime_type(), kSafetensors);
  const auto latents = DecodeLatents(response.images(1).content());
  ASSERT_TRUE(latents.ok()) << latents.status().ForLog();
  EXPECT_EQ(latents->channels, 4);
  EXPECT_EQ(latents->height, 16);
  EXPECT_EQ(latents->values[0], 8.0f);
  EXPECT_FLOAT_EQ(response.parameters().denoising_end(), 0.8f);

  v1::StreamImagesRequest second = Request();
  second.mutable_parameters()->set_image_count(2);
  second.mutable_parameters()->set_denoising_start(0.8f);
  for (const auto& image : response.images()) {
    second.mutable_parameters()->add_initial_latents(image.content());
  }
  const StreamResult result = Stream(second);
  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  EXPECT_FLOAT_EQ(Resolved(result).denoising_start(), 0.8f);
}

TEST_F(DenoisingRequestsTest, TellHowManyTokensWereUsed) {
  StartServer();
  const StreamResult result = Stream(Request(std::string(80, 'x')));
  ASSERT_TRUE(result.status.ok());
  const v1::Completed& completed = result.events.back().completed();
  ASSERT_THAT(completed.prompt_tokens(), SizeIs(1));
  EXPECT_EQ(completed.prompt_tokens(0).field(), "prompt");
  EXPECT_EQ(completed.prompt_tokens(0).token_count(), 80);
  EXPECT_EQ(completed.prompt_tokens(0).used_token_count(), 75);
  EXPECT_EQ(completed.prompt_tokens(0).chunk_count(), 1);

  v1::GenerateImagesRequest unary;
  unary.mutable_parameters()->set_prompt("abc");
  grpc::ClientContext context;
  v1::GenerateImagesResponse response;
  ASSERT_TRUE(images_->GenerateImages(&context, unary, &response).ok());
  ASSERT_THAT(response.prompt_tokens(), SizeIs(1));
  EXPECT_EQ(response.prompt_tokens(0).used_token_count(), 3);
}

TEST_F(DenoisingRequestsTest, EchoTheTilesOfALargeImage) {
  StartServer();
  v1::StreamImagesRequest request = Request();
  v1::ImageParameters& asked = *request.mutable_parameters();
  asked.set_width_px(1024);
  asked.set_height_px(1024);
  EXPECT_EQ(Resolved(Stream(request)).vae_tile_px(), 0);
  asked.set_width_px(1028);
  EXPECT_EQ(Resolved(Stream(request)).vae_tile_px(), 512);
}

}  // namespace
}  // namespace tightfit
