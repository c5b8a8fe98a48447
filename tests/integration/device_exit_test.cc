// A server whose device is lost, or whose model hangs, says so and ends with 71, so that whatever
// supervises it starts it anew.
#include "server/app/serve.h"
#include "tests/integration/served_fixture.h"
#include "tightfit/v1/model.grpc.pb.h"

#include <gmock/gmock.h>
#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <gtest/gtest.h>

namespace tightfit {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

// Expects UNAVAILABLE `DEVICE_LOST` with a delay to try again after, and no word of CUDA.
void ExpectDeviceLost(const grpc::Status& status) {
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
  EXPECT_THAT(status.error_message(), testing::Not(HasSubstr("CUDA")));
  google::rpc::Status rich;
  ASSERT_TRUE(rich.ParseFromString(status.error_details()));
  google::rpc::ErrorInfo info;
  google::rpc::RetryInfo retry;
  for (const auto& detail : rich.details()) {
    detail.UnpackTo(&info);
    detail.UnpackTo(&retry);
  }
  EXPECT_EQ(info.reason(), "DEVICE_LOST") << status.error_message();
  EXPECT_GT(retry.retry_delay().seconds(), 0);
}

class DeviceExitTest : public ServedFixture {
 protected:
  void StartHeld(std::vector<std::string> flags = {}) {
    scratch_.Write("hold", "");
    StartAndWaitUntilReady(std::move(flags), {{"FAKE_STEP_HOLD", scratch_.Path("hold")},
                                              {"FAKE_CUDA_ERROR", scratch_.Path("error")}});
  }

  // Two that run, the others wait.
  void SendRequests(int count) {
    for (int i = 0; i < count; ++i) {
      requests_.push_back(std::make_unique<StreamingRequest>(channel_, Parameters(4)));
      ASSERT_TRUE(i == 0 ? requests_[0]->WaitForStarted() : requests_[i]->WaitForQueued());
    }
  }

  void Unload(const std::string& model) {
    grpc::ClientContext context;
    v1::UnloadModelRequest request;
    v1::UnloadModelResponse reply;
    request.set_name(model);
    const auto stub = v1::ModelService::NewStub(channel_);
    EXPECT_EQ(stub->UnloadModel(&context, request, &reply).error_code(),
              grpc::StatusCode::UNAVAILABLE);
  }

  std::vector<std::unique_ptr<StreamingRequest>> requests_;
};

class FatalCudaErrorTest : public DeviceExitTest, public testing::WithParamInterface<int> {};

TEST_P(FatalCudaErrorTest, TellsEveryClientAndExitsWith71) {
  StartHeld();
  SendRequests(6);
  scratch_.Write("error", std::to_string(GetParam()));
  scratch_.Remove("hold");
  for (const auto& request : requests_) ExpectDeviceLost(request->Finish());
  EXPECT_EQ(ExitCode(), kExitDevice) << Log();
  EXPECT_THAT(Log(), HasSubstr("the device is lost"));
  EXPECT_THAT(Log(), HasSubstr("CUDA error " + std::to_string(GetParam())));
  EXPECT_FALSE(scratch_.Has("addresses.json"));
}

INSTANTIATE_TEST_SUITE_P(Codes, FatalCudaErrorTest,
                         testing::Values(46, 214, 220, 226, 700, 702, 710, 714, 715, 716, 717, 718,
                                         719, 721, 810, 911, 999));

TEST_F(DeviceExitTest, GoesOnAfterAnErrorThatIsNotFatal) {
  StartHeld();
  SendRequests(1);
  scratch_.Write("error", "2");
  scratch_.Remove("hold");
  EXPECT_EQ(requests_[0]->Finish().error_code(), grpc::StatusCode::INTERNAL);
  scratch_.Remove("error");
  StreamingRequest next(channel_, Parameters(4));
  EXPECT_TRUE(next.Finish().ok());
  EXPECT_EQ(health_->Check(""), "SERVING");
}

TEST_F(DeviceExitTest, ExitsWith71WhenTheDeviceIsLostDuringADrain) {
  StartHeld({"--drain-timeout-seconds=60"});
  SendRequests(3);
  Terminate();
  ASSERT_TRUE(WaitForHealth("", "NOT_SERVING"));
  scratch_.Write("error", "700");
  scratch_.Remove("hold");
  for (const auto& request : requests_) ExpectDeviceLost(request->Finish());
  EXPECT_EQ(ExitCode(), kExitDevice) << Log();
}

TEST_F(DeviceExitTest, ExitsWith71WhenACallHangs) {
  StartHeld({"--watchdog-seconds=0.5"});
  SendRequests(4);
  for (const char* const name : {"", "model/one", "tightfit.v1.ServerService"}) {
    EXPECT_TRUE(WaitForHealth(name, "NOT_SERVING")) << name << Log();
  }
  // Two may run, of which one has the device.
  ExpectDeviceLost(requests_[2]->Finish());
  ExpectDeviceLost(requests_[3]->Finish());
  EXPECT_EQ(ExitCode(), kExitDevice) << Log();
  EXPECT_EQ(requests_[0]->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(Log(), HasSubstr("a call of a model hangs; the process must be started anew "
                               "model=one stage=denoise seconds=0."));
  EXPECT_FALSE(scratch_.Has("addresses.json"));
}

TEST_F(DeviceExitTest, ExitsWith71WhenALoadShowsNoProgress) {
  scratch_.Write("hold", "");
  Start({"--watchdog-seconds=0.5"}, {{"FAKE_LOAD_HOLD", scratch_.Path("hold")}});
  EXPECT_EQ(ExitCode(), kExitDevice) << Log();
  EXPECT_THAT(Log(), HasSubstr("model=one stage=model_load"));
}

TEST_F(DeviceExitTest, ExitsWith71WhenAModelDoesNotLeave) {
  StartAndWaitUntilReady({"--watchdog-seconds=0.5"}, {{"FAKE_LEAVE_HOLD", scratch_.Path("hold")}});
  scratch_.Write("hold", "");
  Unload("one");
  EXPECT_EQ(ExitCode(), kExitDevice) << Log();
  EXPECT_THAT(Log(), HasSubstr("model=one stage=model_evict"));
}

TEST_F(DeviceExitTest, ExitsWith71WhenTheDeviceIsLostWhileAModelLeaves) {
  StartAndWaitUntilReady({}, {{"FAKE_PROBE_LOST", scratch_.Path("lost")}});
  scratch_.Write("lost", "");
  Unload("one");
  EXPECT_EQ(ExitCode(), kExitDevice) << Log();
  EXPECT_THAT(Log(), HasSubstr("the device is lost"));
}

// An error whose code is in no list: the device is asked.
TEST_F(DeviceExitTest, ExitsWith71WhenADeviceGivesNoSignOfLifeAfterAnUnknownError) {
  StartAndWaitUntilReady({}, {{"FAKE_CUDA_ERROR", scratch_.Path("error")},
                              {"FAKE_PROBE_LOST", scratch_.Path("lost")}});
  scratch_.Write("error", "303");
  EXPECT_EQ(StreamingRequest(channel_, Parameters(4)).Finish().error_code(),
            grpc::StatusCode::INTERNAL);
  EXPECT_EQ(health_->Check(""), "SERVING");
  scratch_.Write("lost", "");
  ExpectDeviceLost(StreamingRequest(channel_, Parameters(4)).Finish());
  EXPECT_EQ(ExitCode(), kExitDevice) << Log();
}

TEST_F(DeviceExitTest, WaitsForEverWithoutAWatchdog) {
  StartHeld({"--watchdog-seconds=0"});
  SendRequests(1);
  EXPECT_FALSE(server_->process().WaitForExit(milliseconds(1500)).has_value()) << Log();
  EXPECT_EQ(health_->Check(""), "SERVING");
  scratch_.Remove("hold");
  EXPECT_TRUE(requests_[0]->Finish().ok());
}

}  // namespace
}  // namespace tightfit
