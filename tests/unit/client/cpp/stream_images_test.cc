#include "client/cpp/generation_client.h"
#include "tests/unit/client/scripted_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <string>
#include <thread>
#include <vector>

namespace tightfit::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using namespace tightfit::testing;  // NOLINT: the script's vocabulary
using std::chrono::milliseconds;

using StreamScript = std::function<grpc::Status(grpc::ServerContext&,
                                                const v1::StreamImagesRequest&, StreamWriter&)>;

// A server with one scripted stream and a client at it.
struct Pair {
  explicit Pair(StreamScript script)
      : server({.stream_images = std::move(script)}),
        client({.server = server.address(), .first_retry_delay = milliseconds(1)}) {}

  Status Stream(const ImageRequest& request = {.prompt = "apple"}, const CallOptions& call = {}) {
    return client.StreamImages(
        request, [this](Event event) { events.push_back(std::move(event)); }, call);
  }

  template <typename T>
  std::vector<T> All() const {
    std::vector<T> found;
    for (const Event& event : events) {
      if (const T* one = std::get_if<T>(&event)) found.push_back(*one);
    }
    return found;
  }

  ScriptedServer server;
  GenerationClient client;
  std::vector<Event> events;
};

// Streams `events` and ends with OK.
StreamScript Send(std::vector<v1::StreamImagesResponse> events) {
  return [events](grpc::ServerContext&, const v1::StreamImagesRequest&, StreamWriter& writer) {
    for (const v1::StreamImagesResponse& event : events) writer.Write(event);
    return grpc::Status::OK;
  };
}

void ExpectBrokenStream(const Status& status, const std::string& what) {
  EXPECT_EQ(status.code(), StatusCode::kDataLoss) << status.message();
  EXPECT_EQ(status.reason(), kBrokenStream);
  EXPECT_THAT(status.message(), HasSubstr(what));
}

TEST(StreamImagesTest, GivesWholeImagesAndAllEventsInOrder) {
  Pair pair([](grpc::ServerContext&, const v1::StreamImagesRequest& request, StreamWriter& writer) {
    writer.Write(QueuedEvent(2));
    return StreamWholeRequest(request, writer, 200'000, 65'536);
  });
  const Status status =
      pair.Stream({.prompt = "apple", .step_count = 2, .seed = 7, .image_count = 2});
  ASSERT_TRUE(status.ok()) << status.message();

  std::vector<size_t> kinds;
  for (const Event& event : pair.events) kinds.push_back(event.index());
  EXPECT_THAT(kinds, ElementsAre(0, 1, 2, 2, 2, 3, 3, 4));
  EXPECT_EQ(pair.All<Queued>()[0].position, 2);
  const auto images = pair.All<Image>();
  ASSERT_EQ(images.size(), 2u);
  for (int32_t index = 0; index < 2; ++index) {
    const Image& image = images[static_cast<size_t>(index)];
    EXPECT_EQ(image.index, index);
    EXPECT_EQ(image.seed, 7 + index);
    EXPECT_TRUE(image.content == ImageContent(index, 200'000));
  }
}

TEST(StreamImagesTest, GivesResolvedParametersProgressAndTimings) {
  Pair pair([](grpc::ServerContext&, const v1::StreamImagesRequest& request, StreamWriter& writer) {
    return StreamWholeRequest(request, writer);
  });
  ASSERT_TRUE(pair.Stream().ok());

  const Started started = pair.All<Started>()[0];
  EXPECT_EQ(started.request_id, "request-1");
  EXPECT_EQ(started.parameters.model, "apples");
  EXPECT_EQ(started.parameters.model_hash, "0123456789");
  EXPECT_EQ(started.parameters.width_px, 64);
  EXPECT_EQ(started.parameters.height_px, 32);
  EXPECT_EQ(started.parameters.guidance_scale, 7.1f);
  EXPECT_EQ(started.parameters.seed, 42);
  EXPECT_EQ(started.parameters.original_size.width_px, 65);
  EXPECT_EQ(started.parameters.target_size.height_px, 34);
  EXPECT_EQ(started.parameters.crop_top_left.left_px, 3);
  EXPECT_EQ(started.parameters.crop_top_left.top_px, 2);
  EXPECT_EQ(started.parameters.scope, "linear+conv");

  const auto progress = pair.All<Progress>();
  ASSERT_EQ(progress.size(), 5u);
  EXPECT_EQ(progress[0].stage, Stage::kDenoise);
  EXPECT_FALSE(progress[0].remaining.has_value());
  EXPECT_EQ(progress[2].step, 2);
  EXPECT_EQ(progress[2].step_count, 4);
  EXPECT_EQ(progress[2].elapsed, milliseconds(1500));
  EXPECT_EQ(progress[2].remaining, milliseconds(1500));

  const Completed completed = pair.All<Completed>()[0];
  EXPECT_EQ(completed.timings.queued, milliseconds(250));
  EXPECT_EQ(completed.timings.denoise, milliseconds(2000));
  EXPECT_EQ(completed.timings.total, milliseconds(3500));
  ASSERT_EQ(completed.images.size(), 1u);
  EXPECT_EQ(completed.images[0].size_bytes, 1000);
}

TEST(StreamImagesTest, SendsEveryFieldThatIsSet) {
  v1::StreamImagesRequest seen;
  Pair pair(
      [&](grpc::ServerContext&, const v1::StreamImagesRequest& request, StreamWriter& writer) {
        seen = request;
        return StreamWholeRequest(request, writer);
      });
  ASSERT_TRUE(pair.Stream({.request_id = "id-9",
                           .model = "apples",
                           .prompt = "a red apple \xF0\x9F\x8D\x8E",
                           .prompt_2 = "two",
                           .negative_prompt = "",
                           .negative_prompt_2 = "none",
                           .width_px = 64,
                           .height_px = 32,
                           .step_count = 3,
                           .guidance_scale = 0.0f,
                           .guidance_rescale = 0.25f,
                           .sampler = "euler-a",
                           .seed = 0,
                           .image_count = 1,
                           .original_size = Size{100, 200},
                           .target_size = Size{300, 400},
                           .crop_top_left = Offset{5, 6},
                           .mime_type = "image/png",
                           .embed_metadata = false,
                           .prompt_syntax = PromptSyntax::kPlain,
                           .clip_skip = 2,
                           .denoising_start = 0.5f,
                           .denoising_end = 0.75f,
                           .initial_latents = {"one", "two"},
                           .init_image = std::string("a\0b", 3),
                           .strength = 0.7,
                           .mask = "white",
                           .keep_unmasked_pixels = false,
                           .mask_blur_px = 4,
                           .inpaint_area = InpaintArea::kMasked,
                           .inpaint_padding_px = 16,
                           .outpaint = Margins{1, 2, 3, 4}})
                  .ok());
  const v1::ImageParameters& parameters = seen.parameters();
  EXPECT_EQ(seen.request_id(), "id-9");
  EXPECT_EQ(parameters.model(), "apples");
  EXPECT_EQ(parameters.prompt(), "a red apple \xF0\x9F\x8D\x8E");
  EXPECT_EQ(parameters.prompt_2(), "two");
  EXPECT_TRUE(parameters.has_negative_prompt());
  EXPECT_EQ(parameters.negative_prompt(), "");
  EXPECT_EQ(parameters.negative_prompt_2(), "none");
  EXPECT_EQ(parameters.width_px(), 64);
  EXPECT_EQ(parameters.height_px(), 32);
  EXPECT_EQ(parameters.step_count(), 3);
  EXPECT_TRUE(parameters.has_guidance_scale());
  EXPECT_EQ(parameters.guidance_rescale(), 0.25f);
  EXPECT_EQ(parameters.sampler(), "euler-a");
  EXPECT_TRUE(parameters.has_seed());
  EXPECT_EQ(parameters.image_count(), 1);
  EXPECT_EQ(parameters.original_size().width_px(), 100);
  EXPECT_EQ(parameters.original_size().height_px(), 200);
  EXPECT_EQ(parameters.target_size().width_px(), 300);
  EXPECT_EQ(parameters.crop_top_left().left_px(), 5);
  EXPECT_EQ(parameters.crop_top_left().top_px(), 6);
  EXPECT_EQ(parameters.mime_type(), "image/png");
  EXPECT_TRUE(parameters.has_embed_metadata());
  EXPECT_FALSE(parameters.embed_metadata());
  EXPECT_EQ(parameters.prompt_syntax(), v1::PROMPT_SYNTAX_PLAIN);
  EXPECT_EQ(parameters.clip_skip(), 2);
  EXPECT_EQ(parameters.denoising_start(), 0.5f);
  EXPECT_EQ(parameters.denoising_end(), 0.75f);
  ASSERT_EQ(parameters.initial_latents_size(), 2);
  EXPECT_EQ(parameters.initial_latents(1), "two");
  EXPECT_EQ(parameters.init_image(), std::string("a\0b", 3));
  EXPECT_EQ(parameters.strength(), 0.7);
  EXPECT_EQ(parameters.mask(), "white");
  EXPECT_TRUE(parameters.has_keep_unmasked_pixels());
  EXPECT_FALSE(parameters.keep_unmasked_pixels());
  EXPECT_EQ(parameters.mask_blur_px(), 4);
  EXPECT_EQ(parameters.inpaint_area(), v1::INPAINT_AREA_MASKED);
  EXPECT_EQ(parameters.inpaint_padding_px(), 16);
  EXPECT_EQ(parameters.outpaint().left_px(), 1);
  EXPECT_EQ(parameters.outpaint().top_px(), 2);
  EXPECT_EQ(parameters.outpaint().right_px(), 3);
  EXPECT_EQ(parameters.outpaint().bottom_px(), 4);
}

TEST(StreamImagesTest, LeavesAbsentFieldsUnset) {
  v1::StreamImagesRequest seen;
  Pair pair(
      [&](grpc::ServerContext&, const v1::StreamImagesRequest& request, StreamWriter& writer) {
        seen = request;
        return StreamWholeRequest(request, writer);
      });
  ASSERT_TRUE(pair.Stream().ok());
  v1::StreamImagesRequest expected;
  expected.mutable_parameters()->set_prompt("apple");
  EXPECT_EQ(seen.SerializeAsString(), expected.SerializeAsString());
}

TEST(StreamImagesTest, RefusesTextThatIsNotUtf8BeforeSending) {
  Pair pair(Send({}));
  const Status status = pair.Stream({.prompt = "caf\xE9", .negative_prompt = "\xFF"});
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  ASSERT_EQ(status.field_violations().size(), 2u);
  EXPECT_EQ(status.field_violations()[0].field, "prompt");
  EXPECT_EQ(status.field_violations()[1].field, "negative_prompt");
  EXPECT_EQ(pair.server.call_count(), 0);
}

TEST(StreamImagesTest, ReportsChunksOutOfOrderAsDataLoss) {
  Pair pair(Send({StartedEvent(1, 1), ChunkEvent(0, 0, "ab", 6, false),
                  ChunkEvent(0, 4, "ef", 6, true), CompletedEvent(1, 1)}));
  ExpectBrokenStream(pair.Stream(), "byte 4 where byte 2 was due");
  EXPECT_TRUE(pair.All<Image>().empty());
}

TEST(StreamImagesTest, ReportsShortImagesAsDataLoss) {
  Pair pair(Send({StartedEvent(1, 1), ChunkEvent(0, 0, "ab", 6, true), CompletedEvent(1, 1)}));
  ExpectBrokenStream(pair.Stream(), "2 of 6 bytes");
}

TEST(StreamImagesTest, ReportsMissingImagesAsDataLoss) {
  Pair pair(Send({StartedEvent(1, 2), ChunkEvent(0, 0, "ab", 2, true), CompletedEvent(1, 2)}));
  ExpectBrokenStream(pair.Stream(), "image 1");
  EXPECT_EQ(pair.All<Image>().size(), 1u);
  EXPECT_TRUE(pair.All<Completed>().empty());
}

TEST(StreamImagesTest, ReportsAStreamThatEndsEarlyAsDataLoss) {
  Pair pair(Send({StartedEvent(1, 1), ChunkEvent(0, 0, "ab", 2, true)}));
  ExpectBrokenStream(pair.Stream(), "ended before");
}

TEST(StreamImagesTest, ReportsEventsOutOfOrderAsDataLoss) {
  ExpectBrokenStream(Pair(Send({ChunkEvent(0, 0, "ab", 2, true)})).Stream(), "before the request");
  ExpectBrokenStream(Pair(Send({CompletedEvent(1, 1)})).Stream(), "before it started");
  ExpectBrokenStream(Pair(Send({StartedEvent(1, 1), StartedEvent(1, 1)})).Stream(), "twice");
  ExpectBrokenStream(Pair(Send({StartedEvent(1, 1), ChunkEvent(0, 0, "ab", 2, true),
                                CompletedEvent(1, 1), DenoiseEvent(1, 1, 1.0)}))
                         .Stream(),
                     "after the last");
}

TEST(StreamImagesTest, PassesOverEventsOfNewerServers) {
  Pair pair(Send({v1::StreamImagesResponse(), StartedEvent(1, 1), v1::StreamImagesResponse(),
                  ChunkEvent(0, 0, "ab", 2, true), CompletedEvent(1, 1)}));
  EXPECT_TRUE(pair.Stream().ok());
}

TEST(StreamImagesTest, KeepsImagesThatCameBeforeAFailure) {
  Pair pair([](grpc::ServerContext&, const v1::StreamImagesRequest&, StreamWriter& writer) {
    writer.Write(StartedEvent(1, 2));
    writer.Write(ChunkEvent(0, 0, "ab", 2, true));
    return MakeError(
        {.code = grpc::StatusCode::INTERNAL, .message = "burnt", .reason = "INTERNAL"});
  });
  const Status status = pair.Stream();
  EXPECT_EQ(status.code(), StatusCode::kInternal);
  EXPECT_EQ(status.message(), "burnt");
  ASSERT_EQ(pair.All<Image>().size(), 1u);
  EXPECT_EQ(pair.All<Image>()[0].content, "ab");
}

TEST(StreamImagesTest, CancelFromAnotherThreadReachesTheServer) {
  std::promise<void> started;
  std::promise<bool> cancelled;
  Pair pair(
      [&](grpc::ServerContext& context, const v1::StreamImagesRequest&, StreamWriter& writer) {
        writer.Write(StartedEvent(1, 1));
        started.set_value();
        cancelled.set_value(WaitForCancel(context));
        return grpc::Status::CANCELLED;
      });
  std::stop_source stop;
  std::thread canceller([&] {
    started.get_future().wait();
    stop.request_stop();
  });
  const Status status = pair.Stream({.prompt = "apple"}, {.cancel = stop.get_token()});
  canceller.join();
  EXPECT_EQ(status.code(), StatusCode::kCancelled);
  EXPECT_TRUE(cancelled.get_future().get());
}

TEST(StreamImagesTest, CancelInsideTheCallbackEndsTheCall) {
  std::stop_source stop;
  Pair pair(
      [&](grpc::ServerContext& context, const v1::StreamImagesRequest&, StreamWriter& writer) {
        writer.Write(StartedEvent(1, 1));
        WaitForCancel(context);
        return grpc::Status::CANCELLED;
      });
  const Status status = pair.client.StreamImages(
      {.prompt = "apple"}, [&](Event) { stop.request_stop(); }, {.cancel = stop.get_token()});
  EXPECT_EQ(status.code(), StatusCode::kCancelled);
}

TEST(StreamImagesTest, DeadlineEndsTheCallOnBothSides) {
  std::promise<bool> cancelled;
  Pair pair(
      [&](grpc::ServerContext& context, const v1::StreamImagesRequest&, StreamWriter& writer) {
        writer.Write(StartedEvent(1, 1));
        cancelled.set_value(WaitForCancel(context));
        return grpc::Status::OK;
      });
  const auto start = std::chrono::steady_clock::now();
  const Status status = pair.Stream({.prompt = "apple"}, {.timeout = milliseconds(200)});
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(status.message(), "not done within 0.2 s");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
  EXPECT_TRUE(cancelled.get_future().get());
}

TEST(StreamImagesTest, TellsAForeignServerFromATightfitServer) {
  const ScriptedServer server({});
  GenerationClient client({.server = server.address()});
  const Status status = client.StreamImages({.prompt = "apple"}, [](Event) {});
  EXPECT_EQ(status.code(), StatusCode::kUnimplemented);
  EXPECT_EQ(status.reason(), kNotTightfit);
}

}  // namespace
}  // namespace tightfit::client
