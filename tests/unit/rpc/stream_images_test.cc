// What a client of StreamImages sees when all goes well.
#include "server/image/png.h"
#include "tests/unit/rpc/rpc_fixture.h"

#include <map>

namespace tightfit {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int64_t kMaxPixels = 4 << 20;

// The images' bytes put together from the chunks; every chunk must continue where the last ended.
std::map<int32_t, std::string> Reassemble(const StreamResult& result) {
  std::map<int32_t, std::string> images;
  std::map<int32_t, bool> complete;
  for (const v1::StreamImagesResponse& event : result.events) {
    if (!event.has_image_chunk()) continue;
    const v1::ImageChunk& chunk = event.image_chunk();
    std::string& image = images[chunk.image_index()];
    EXPECT_FALSE(complete[chunk.image_index()]);
    EXPECT_EQ(chunk.offset_bytes(), static_cast<int64_t>(image.size()));
    EXPECT_EQ(chunk.mime_type(), "image/png");
    EXPECT_FALSE(chunk.content().empty());
    image += chunk.content();
    EXPECT_EQ(chunk.last(), std::cmp_equal(image.size(), chunk.total_bytes()));
    complete[chunk.image_index()] = chunk.last();
  }
  for (const auto& [index, done] : complete) EXPECT_TRUE(done) << "image " << index;
  return images;
}

DecodedPng Decode(const std::string& content) {
  Result<DecodedPng> decoded =
      DecodePng({reinterpret_cast<const uint8_t*>(content.data()), content.size()}, kMaxPixels);
  EXPECT_TRUE(decoded.ok());
  return decoded.ok() ? std::move(decoded).value() : DecodedPng{};
}

class StreamImagesTest : public RpcFixture {};

TEST_F(StreamImagesTest, SendsEventsInTheirOrder) {
  StartServer();
  v1::StreamImagesRequest request = Request();
  request.mutable_parameters()->set_image_count(2);
  const StreamResult result = Stream(request);
  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  ASSERT_GE(result.events.size(), 5u);
  EXPECT_TRUE(result.events.front().has_queued());
  EXPECT_EQ(result.events.front().queued().position(), 0);
  size_t i = 0;
  while (result.events[i].has_queued()) ++i;
  EXPECT_TRUE(result.events[i].has_started());
  for (++i; i + 1 < result.events.size(); ++i) {
    EXPECT_TRUE(result.events[i].has_progress() || result.events[i].has_image_chunk()) << i;
  }
  EXPECT_TRUE(result.events.back().has_completed());
}

TEST_F(StreamImagesTest, TellsEveryStepToAReaderThatKeepsUp) {
  StartServer();
  StopEveryCall();
  grpc::ClientContext context;
  auto reader = images_->StreamImages(&context, Request());
  std::vector<int> steps;
  v1::StreamImagesResponse event;
  // begin, 4 steps, decode: one call is let through after each progress report.
  gate_.Let();
  while (reader->Read(&event)) {
    if (!event.has_progress()) continue;
    if (event.progress().stage() == v1::STAGE_DENOISE) {
      steps.push_back(event.progress().step());
      EXPECT_EQ(event.progress().step_count(), 4);
      EXPECT_EQ(event.progress().has_remaining_duration(), event.progress().step() > 0);
    }
    gate_.Let();
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_THAT(steps, ElementsAre(0, 1, 2, 3, 4));
}

TEST_F(StreamImagesTest, FillsInTheModelsDefaults) {
  StartServer();
  const StreamResult result = Stream(Request());
  ASSERT_TRUE(result.status.ok());
  const v1::Started& started = result.events[1].started();
  EXPECT_THAT(started.request_id(), SizeIs(36));
  const v1::ResolvedParameters& resolved = started.parameters();
  EXPECT_EQ(resolved.model(), "fake");
  EXPECT_EQ(resolved.model_hash(), "0123456789");
  EXPECT_EQ(resolved.width_px(), 64);
  EXPECT_EQ(resolved.height_px(), 64);
  EXPECT_EQ(resolved.step_count(), 4);
  EXPECT_EQ(resolved.guidance_scale(), 5.0f);
  EXPECT_EQ(resolved.sampler(), "euler");
  EXPECT_EQ(resolved.image_count(), 1);
  EXPECT_GE(resolved.seed(), 0);
  EXPECT_LT(resolved.seed(), int64_t{1} << 32);
  EXPECT_EQ(resolved.original_size().width_px(), 64);
  EXPECT_EQ(resolved.target_size().height_px(), 64);
  EXPECT_EQ(resolved.crop_top_left().left_px(), 0);
  EXPECT_EQ(resolved.format(), "hf8");
  EXPECT_EQ(resolved.scope(), "linear+conv");
  EXPECT_EQ(resolved.compute_dtype(), "fp32");
}

TEST_F(StreamImagesTest, EchoesWhatWasAsked) {
  StartServer();
  v1::StreamImagesRequest request = Request();
  request.set_request_id("my-id.1");
  v1::ImageParameters& parameters = *request.mutable_parameters();
  parameters.set_model("fake");
  parameters.set_width_px(128);
  parameters.set_height_px(32);
  parameters.set_step_count(2);
  parameters.set_guidance_scale(0.0f);
  parameters.set_guidance_rescale(0.5f);
  parameters.set_sampler("euler-a");
  parameters.set_seed(0);
  parameters.set_image_count(1);
  parameters.mutable_original_size()->set_width_px(1000);
  parameters.mutable_original_size()->set_height_px(900);
  parameters.mutable_target_size()->set_width_px(800);
  parameters.mutable_target_size()->set_height_px(700);
  parameters.mutable_crop_top_left()->set_left_px(5);
  parameters.mutable_crop_top_left()->set_top_px(6);
  const StreamResult result = Stream(request);
  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  EXPECT_EQ(result.events[1].started().request_id(), "my-id.1");
  const v1::ResolvedParameters& resolved = result.events[1].started().parameters();
  EXPECT_EQ(resolved.width_px(), 128);
  EXPECT_EQ(resolved.height_px(), 32);
  EXPECT_EQ(resolved.step_count(), 2);
  EXPECT_EQ(resolved.guidance_rescale(), 0.5f);
  EXPECT_EQ(resolved.guidance_scale(), 0.0f) << "a zero that was set is no default";
  EXPECT_EQ(resolved.sampler(), "euler-a");
  EXPECT_EQ(resolved.seed(), 0);
  EXPECT_EQ(resolved.original_size().width_px(), 1000);
  EXPECT_EQ(resolved.original_size().height_px(), 900);
  EXPECT_EQ(resolved.target_size().width_px(), 800);
  EXPECT_EQ(resolved.target_size().height_px(), 700);
  EXPECT_EQ(resolved.crop_top_left().left_px(), 5);
  EXPECT_EQ(resolved.crop_top_left().top_px(), 6);
}

TEST_F(StreamImagesTest, ChunksMakeTheImageAgain) {
  limits_.image_chunk_bytes = 1000;
  StartServer();
  controls_->noisy = true;
  v1::StreamImagesRequest request = Request();
  request.mutable_parameters()->set_image_count(3);
  request.mutable_parameters()->set_seed(100);
  const StreamResult result = Stream(request);
  ASSERT_TRUE(result.status.ok());
  const std::map<int32_t, std::string> images = Reassemble(result);
  ASSERT_THAT(images, SizeIs(3));
  GenerationParameters parameters;
  parameters.width_px = 64;
  parameters.height_px = 64;
  parameters.seed = 100;
  for (const auto& [index, content] : images) {
    EXPECT_GT(content.size(), 10'000u) << "noise fills several chunks";
    EXPECT_EQ(Decode(content).image.rgb, FakeNoise(parameters, index).rgb);
  }
}

TEST_F(StreamImagesTest, TellsSeedSizeAndTimesOfEveryImage) {
  StartServer();
  v1::StreamImagesRequest request = Request();
  request.mutable_parameters()->set_image_count(3);
  request.mutable_parameters()->set_seed(41);
  const StreamResult result = Stream(request);
  ASSERT_TRUE(result.status.ok());
  const std::map<int32_t, std::string> images = Reassemble(result);
  const v1::Completed& completed = result.events.back().completed();
  ASSERT_THAT(completed.images(), SizeIs(3));
  for (int32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(completed.images(i).image_index(), i);
    EXPECT_EQ(completed.images(i).seed(), 41 + i);
    EXPECT_EQ(completed.images(i).width_px(), 64);
    EXPECT_EQ(completed.images(i).size_bytes(), static_cast<int64_t>(images.at(i).size()));
  }
  EXPECT_GT(completed.timings().total_duration().nanos(), 0);
  EXPECT_GT(completed.timings().image_encode_duration().nanos(), 0);
}

TEST_F(StreamImagesTest, GivesTheSameImageWhenAskedWithTheResolvedSeed) {
  StartServer();
  const StreamResult first = Stream(Request());
  ASSERT_TRUE(first.status.ok());
  v1::StreamImagesRequest again = Request();
  again.mutable_parameters()->set_seed(first.events[1].started().parameters().seed());
  EXPECT_EQ(Reassemble(first), Reassemble(Stream(again)));
}

TEST_F(StreamImagesTest, WritesTheParametersIntoTheImageUnlessToldNotTo) {
  StartServer();
  v1::StreamImagesRequest request = Request("a very special cat");
  const std::string with = Reassemble(Stream(request)).at(0);
  EXPECT_NE(Decode(with).text.at("parameters").find("a very special cat"), std::string::npos);
  request.mutable_parameters()->set_embed_metadata(false);
  const std::string without = Reassemble(Stream(request)).at(0);
  EXPECT_THAT(Decode(without).text, IsEmpty());
  EXPECT_EQ(without.find("special"), std::string::npos);
}

TEST_F(StreamImagesTest, TellsMetricsWhatHappened) {
  StartServer();
  v1::StreamImagesRequest request = Request();
  request.mutable_parameters()->set_image_count(2);
  ASSERT_TRUE(Stream(request).status.ok());
  const std::optional<RequestRecord> record = recorder_.WaitForRecord();
  ASSERT_TRUE(record.has_value());
  EXPECT_TRUE(record->status.ok());
  EXPECT_EQ(record->image_count, 2);
  EXPECT_EQ(record->step_count, 4);
  EXPECT_THAT(record->request_id, SizeIs(36));
  EXPECT_THAT(recorder_.events(),
              ElementsAre("started StreamImages fake", "stage fake image_encode",
                          "image fake image/png 4096", "stage fake image_encode",
                          "image fake image/png 4096", "finished StreamImages fake 0"));
}

TEST_F(StreamImagesTest, ServesSeveralClientsAtOnce) {
  max_running_requests_ = 4;
  StartServer();
  std::vector<std::future<StreamResult>> results;
  for (int i = 0; i < 16; ++i) {
    results.push_back(std::async(std::launch::async, [this, i] {
      v1::StreamImagesRequest request = Request();
      request.mutable_parameters()->set_seed(i);
      return Stream(request);
    }));
  }
  for (int i = 0; i < 16; ++i) {
    const StreamResult result = results[i].get();
    ASSERT_TRUE(result.status.ok()) << result.status.error_message();
    EXPECT_EQ(Decode(Reassemble(result).at(0)).image.rgb[0], i);
  }
}

}  // namespace
}  // namespace tightfit
