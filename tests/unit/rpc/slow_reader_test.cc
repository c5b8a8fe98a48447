// A reader that takes nothing, or little, holds back nobody but itself.
#include "tests/unit/rpc/rpc_fixture.h"

namespace tightfit {
namespace {

using ::testing::SizeIs;

class SlowReaderTest : public RpcFixture {
 protected:
  SlowReaderTest() { controls_->noisy = true; }
  ~SlowReaderTest() override { StopServer(); }  // before fake_clock_ goes

  // More bytes than gRPC and the kernel buffer for a reader that does not read.
  static v1::StreamImagesRequest LargeRequest() {
    v1::StreamImagesRequest request = Request();
    request.mutable_parameters()->set_width_px(1024);
    request.mutable_parameters()->set_height_px(1024);
    request.mutable_parameters()->set_image_count(8);
    request.mutable_parameters()->set_step_count(1);
    return request;
  }

  // Connects with small buffers, so that little is sent ahead of the reader.
  std::unique_ptr<v1::ImageGenerationService::Stub> NarrowStub() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 64 << 10);
    return v1::ImageGenerationService::NewStub(grpc::CreateCustomChannel(
        server_->address(), grpc::InsecureChannelCredentials(), arguments));
  }

  FakeClock fake_clock_;
};

TEST_F(SlowReaderTest, DoesNotStopOthersAndLosesNothing) {
  max_running_requests_ = 1;
  limits_.max_stream_backlog_bytes = 1 << 20;  // images wait for the reader before they are encoded
  StartServer();
  const auto narrow = NarrowStub();
  grpc::ClientContext context;
  auto slow = narrow->StreamImages(&context, LargeRequest());
  v1::StreamImagesResponse event;
  ASSERT_TRUE(slow->Read(&event));  // and then nothing for a while

  for (int i = 0; i < 5; ++i) EXPECT_TRUE(Stream(Request()).status.ok());
  // The executor went on: only the slow client's images still wait.
  EXPECT_EQ(executor_->running_count(), 0);
  EXPECT_EQ(controls_->live_samplings, 0);

  StreamResult rest = ReadToEnd(*slow);
  ASSERT_TRUE(rest.status.ok()) << rest.status.error_message();
  int64_t bytes = 0;
  for (const v1::StreamImagesResponse& received : rest.events) {
    if (received.has_image_chunk()) bytes += std::ssize(received.image_chunk().content());
  }
  const v1::Completed& completed = rest.events.back().completed();
  ASSERT_THAT(completed.images(), SizeIs(8));
  int64_t told = 0;
  for (const v1::ImageMetadata& image : completed.images()) told += image.size_bytes();
  EXPECT_EQ(bytes, told);
  EXPECT_GT(bytes, 8 * 3 * 1024 * 1024) << "noise cannot be compressed";
}

TEST_F(SlowReaderTest, GetsProgressInOrderAndTheNewestAlways) {
  StartServer();
  // 150 steps that take no time: faster than any reader, so some are merged.
  v1::StreamImagesRequest request = Request();
  request.mutable_parameters()->set_step_count(150);
  const StreamResult result = Stream(request);
  ASSERT_TRUE(result.status.ok());
  int progress_count = 0;
  int last_step = 0;
  for (const v1::StreamImagesResponse& event : result.events) {
    if (!event.has_progress()) continue;
    ++progress_count;
    EXPECT_GE(event.progress().step(), last_step);
    last_step = event.progress().step();
  }
  EXPECT_EQ(last_step, 150);
  EXPECT_LE(progress_count, 154) << "151 of denoising, one each of the other stages";
}

TEST_F(SlowReaderTest, IsCancelledWhenItTakesNothingForTooLong) {
  clock_ = &fake_clock_;
  StartServer();
  const auto narrow = NarrowStub();
  grpc::ClientContext context;
  auto stalled = narrow->StreamImages(&context, LargeRequest());
  v1::StreamImagesResponse event;
  ASSERT_TRUE(stalled->Read(&event));
  std::optional<RequestRecord> record;
  for (int i = 0; i < 500 && !record.has_value(); ++i) {
    fake_clock_.Advance(std::chrono::seconds(limits_.stalled_reader_seconds));
    record = recorder_.WaitForRecord(1, std::chrono::milliseconds(100));
  }
  ASSERT_TRUE(record.has_value()) << "the stalled stream still lives";
  EXPECT_EQ(record->status.reason(), "STALLED_READER");
  EXPECT_FALSE(ReadToEnd(*stalled).status.ok());
  EXPECT_EQ(controls_->live_samplings, 0);
  EXPECT_TRUE(Stream(Request()).status.ok());
}

TEST_F(SlowReaderTest, IsLeftAloneBeforeThat) {
  clock_ = &fake_clock_;
  StartServer();
  const auto narrow = NarrowStub();
  grpc::ClientContext context;
  auto slow = narrow->StreamImages(&context, LargeRequest());
  v1::StreamImagesResponse event;
  ASSERT_TRUE(slow->Read(&event));
  fake_clock_.Advance(std::chrono::seconds(limits_.stalled_reader_seconds) -
                      std::chrono::seconds(1));
  // Longer than the watch's interval.
  EXPECT_FALSE(recorder_.WaitForRecord(1, std::chrono::milliseconds(600)).has_value());
  EXPECT_TRUE(ReadToEnd(*slow).status.ok());
}

}  // namespace
}  // namespace tightfit
