// How calls end early: full queue, cancel, deadline, vanished client, models that cannot serve,
// drain.
#include "tests/unit/rpc/rpc_fixture.h"
#include "tests/unit/rpc/tcp_gate.h"

#include <stdexcept>
#include <thread>

namespace tightfit {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class CallEndTest : public RpcFixture {
 protected:
  // A request that never ends by itself.
  static v1::StreamImagesRequest EndlessRequest() {
    v1::StreamImagesRequest request = Request();
    request.mutable_parameters()->set_step_count(150);
    return request;
  }

  void ExpectSlotFree() {
    EXPECT_EQ(executor_->running_count(), 0);
    EXPECT_EQ(executor_->queued_count(), 0);
    EXPECT_EQ(controls_->live_samplings, 0);
  }
};

TEST_F(CallEndTest, RefusesARequestBeyondTheQueueAndSaysWhenToRetry) {
  limits_.max_queued_requests = 1;
  max_running_requests_ = 1;
  StartServer();
  StopEveryCall();
  grpc::ClientContext running_context;
  auto running = images_->StreamImages(&running_context, Request());
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  grpc::ClientContext queued_context;
  auto queued = images_->StreamImages(&queued_context, Request());
  v1::StreamImagesResponse event;
  ASSERT_TRUE(queued->Read(&event));
  EXPECT_EQ(event.queued().position(), 0);

  const StreamResult refused = Stream(Request());
  EXPECT_THAT(refused.events, IsEmpty());
  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  const ErrorDetails details = DetailsOf(refused.status);
  EXPECT_EQ(details.info->reason(), "QUEUE_FULL");
  ASSERT_TRUE(details.retry.has_value());
  EXPECT_GT(details.retry->retry_delay().seconds() + details.retry->retry_delay().nanos(), 0);

  gate_.Open();
  EXPECT_TRUE(ReadToEnd(*running).status.ok());
  EXPECT_TRUE(ReadToEnd(*queued).status.ok());
  EXPECT_TRUE(Stream(Request()).status.ok()) << "the queue has room again";
}

TEST_F(CallEndTest, CancelFreesTheSlotWithinAStep) {
  StartServer();
  StopEveryCall();
  grpc::ClientContext context;
  auto reader = images_->StreamImages(&context, EndlessRequest());
  gate_.Let(2);
  ASSERT_TRUE(gate_.WaitForArrivals(3));  // begin, step, in the next step
  context.TryCancel();
  EXPECT_EQ(ReadToEnd(*reader).status.error_code(), grpc::StatusCode::CANCELLED);
  const RequestRecord record = LetUntilRecord();
  EXPECT_EQ(record.status.code(), StatusCode::kCancelled);
  // The step that ran, and at most one that began before the cancellation arrived.
  EXPECT_LE(controls_->steps, 3);
  EXPECT_EQ(controls_->decoded, 0);
  ExpectSlotFree();
}

TEST_F(CallEndTest, CancelLeavesTheQueue) {
  max_running_requests_ = 1;
  StartServer();
  StopEveryCall();
  grpc::ClientContext running_context;
  auto running = images_->StreamImages(&running_context, EndlessRequest());
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  grpc::ClientContext queued_context;
  auto queued = images_->StreamImages(&queued_context, Request());
  v1::StreamImagesResponse event;
  ASSERT_TRUE(queued->Read(&event));
  queued_context.TryCancel();
  EXPECT_EQ(ReadToEnd(*queued).status.error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(LetUntilRecord().status.code(), StatusCode::kCancelled);
  EXPECT_EQ(executor_->queued_count(), 0);
  EXPECT_EQ(executor_->running_count(), 1);
  EXPECT_EQ(controls_->begun, 1);
  running_context.TryCancel();
  gate_.Open();
  EXPECT_EQ(ReadToEnd(*running).status.error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(CallEndTest, CancelOfOneStreamLeavesTheOthersAlone) {
  StartServer();
  StopEveryCall();
  grpc::ClientContext cancelled_context;
  auto cancelled = images_->StreamImages(&cancelled_context, EndlessRequest());
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  std::future<StreamResult> other =
      std::async(std::launch::async, [this] { return Stream(Request()); });
  cancelled_context.TryCancel();
  gate_.Open();
  EXPECT_EQ(ReadToEnd(*cancelled).status.error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(other.get().status.ok());
}

TEST_F(CallEndTest, DeadlineStopsTheWork) {
  StartServer();
  StopEveryCall();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
  auto reader = images_->StreamImages(&context, EndlessRequest());
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  EXPECT_EQ(ReadToEnd(*reader).status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  const RequestRecord record = LetUntilRecord();
  EXPECT_EQ(record.status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_LE(controls_->steps, 2);
  ExpectSlotFree();
}

TEST_F(CallEndTest, AVanishedClientStopsTheWork) {
  StartServer();
  StopEveryCall();
  TcpGate connection(server_->address());
  const auto stub = v1::ImageGenerationService::NewStub(Connect(connection.address()));
  grpc::ClientContext context;
  auto reader = stub->StreamImages(&context, EndlessRequest());
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  connection.Cut();
  EXPECT_EQ(ReadToEnd(*reader).status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(LetUntilRecord().status.code(), StatusCode::kCancelled);
  EXPECT_LE(controls_->steps, 2);
  ExpectSlotFree();
}

TEST_F(CallEndTest, ManyCancelsLeaveNothingBehind) {
  StartServer();
  for (int i = 0; i < 50; ++i) {
    grpc::ClientContext context;
    auto reader = images_->StreamImages(&context, EndlessRequest());
    v1::StreamImagesResponse event;
    // At least one: a call that is cancelled at once may never reach the server.
    for (int reads = 0; reads <= i % 5; ++reads) reader->Read(&event);
    context.TryCancel();
    ReadToEnd(*reader);
  }
  ASSERT_TRUE(recorder_.WaitForRecord(50).has_value());
  ExpectSlotFree();
  EXPECT_TRUE(Stream(Request()).status.ok());
}

TEST_F(CallEndTest, AModelThatFailedToLoadIsAFailedPrecondition) {
  models_ = {"bad", "good"};
  loader_ = FakeLoader(controls_, "bad",
                       Status(StatusCode::kDataLoss, "CHECKSUM_MISMATCH", "unet: wrong checksum")
                           .WithDetail("/models/bad/unet.safetensors"));
  StartServer();
  v1::StreamImagesRequest request = Request();
  request.mutable_parameters()->set_model("bad");
  const grpc::Status status = Stream(request).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("unet: wrong checksum"));
  EXPECT_THAT(status.error_message(), Not(HasSubstr("/models")));
  EXPECT_THAT(status.error_details(), Not(HasSubstr("/models")));
  const ErrorDetails details = DetailsOf(status);
  EXPECT_EQ(details.info->reason(), "MODEL_FAILED");
  EXPECT_EQ(details.info->metadata().at("failure_reason"), "CHECKSUM_MISMATCH");
  request.mutable_parameters()->set_model("good");
  EXPECT_TRUE(Stream(request).status.ok());
}

TEST_F(CallEndTest, AModelThatLoadsIsUnavailable) {
  loader_ = [this](const ModelSpec& spec, const auto& progress) {
    gate_.Pass();
    return FakeLoader(controls_)(spec, progress);
  };
  StartServer(/*wait_until_loaded=*/false);
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  const grpc::Status status = Stream(Request()).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  const ErrorDetails details = DetailsOf(status);
  EXPECT_EQ(details.info->reason(), "MODEL_LOADING");
  EXPECT_TRUE(details.retry.has_value());
}

TEST_F(CallEndTest, AnErrorOfTheModelNeverShowsPathsOrExceptionTexts) {
  StartServer();
  controls_->on_call = [](const char*) -> Status {
    throw std::runtime_error("c10::Error at /models/unet.ts");
  };
  const grpc::Status status = Stream(Request()).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INTERNAL);
  for (const std::string& text : {status.error_message(), status.error_details()}) {
    EXPECT_THAT(text, Not(HasSubstr("/models")));
    EXPECT_THAT(text, Not(HasSubstr("c10")));
  }
  EXPECT_THAT(recorder_.WaitForRecord()->status.detail(), HasSubstr("/models/unet.ts"));
}

TEST_F(CallEndTest, AnErrorAfterTheFirstImageEndsTheStreamWithIt) {
  StartServer();
  int decodes = 0;
  controls_->on_call = [&](const char* call) -> Status {
    if (call == std::string_view("decode") && ++decodes == 2) return Internal("no second image");
    return OkStatus();
  };
  v1::StreamImagesRequest request = Request();
  request.mutable_parameters()->set_image_count(2);
  const StreamResult result = Stream(request);
  EXPECT_EQ(result.status.error_message(), "no second image");
  for (const v1::StreamImagesResponse& event : result.events) EXPECT_FALSE(event.has_completed());
}

TEST_F(CallEndTest, DrainRefusesNewRequestsAndFinishesTheRunningOne) {
  StartServer();
  StopEveryCall();
  grpc::ClientContext context;
  auto reader = images_->StreamImages(&context, Request());
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  std::future<bool> drained =
      std::async(std::launch::async, [this] { return executor_->Drain(std::chrono::minutes(1)); });
  grpc::Status refused;
  do {
    grpc::ClientContext refused_context;
    refused_context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    auto other = images_->StreamImages(&refused_context, Request());
    v1::StreamImagesResponse event;
    if (other->Read(&event)) refused_context.TryCancel();  // came before the drain began
    refused = ReadToEnd(*other).status;
  } while (refused.error_code() == grpc::StatusCode::CANCELLED);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(DetailsOf(refused).info->reason(), "DRAINING");
  EXPECT_TRUE(DetailsOf(refused).retry.has_value());
  gate_.Open();
  EXPECT_TRUE(ReadToEnd(*reader).status.ok());
  EXPECT_TRUE(drained.get());
}

TEST_F(CallEndTest, DrainBeyondItsLimitTellsTheClient) {
  StartServer();
  StopEveryCall();
  grpc::ClientContext context;
  auto reader = images_->StreamImages(&context, EndlessRequest());
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  std::future<bool> drained = std::async(
      std::launch::async, [this] { return executor_->Drain(std::chrono::milliseconds(0)); });
  while (drained.wait_for(std::chrono::milliseconds(5)) != std::future_status::ready) gate_.Let();
  EXPECT_FALSE(drained.get());
  const grpc::Status status = ReadToEnd(*reader).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(DetailsOf(status).info->reason(), "DRAINING");
}

TEST_F(CallEndTest, TellsMetricsEveryEndOnce) {
  StartServer();
  v1::StreamImagesRequest bad = Request();
  bad.mutable_parameters()->set_step_count(0);
  EXPECT_FALSE(Stream(bad).status.ok());
  ASSERT_TRUE(recorder_.WaitForRecord(1).has_value());
  EXPECT_THAT(recorder_.events(),
              ElementsAre("started StreamImages fake", "finished StreamImages fake 3"));
  EXPECT_EQ(recorder_.WaitForRecord(1)->status.reason(), "INVALID_PARAMETER");
}

}  // namespace
}  // namespace tightfit
