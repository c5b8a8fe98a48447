// RpcFixture: a real gRPC server over loopback with fake models, and clients to ask it.
#ifndef TIGHTFIT_TESTS_UNIT_RPC_RPC_FIXTURE_H_
#define TIGHTFIT_TESTS_UNIT_RPC_RPC_FIXTURE_H_

#include "server/rpc/grpc_server.h"
#include "tests/support/fake_clock.h"
#include "tests/support/fake_diffusion_model.h"
#include "tests/support/gate.h"

#include <gmock/gmock.h>
#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <tightfit/v1/image_generation.grpc.pb.h>
#include <tightfit/v1/model.grpc.pb.h>
#include <tightfit/v1/server.grpc.pb.h>

#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace tightfit {

// What an error carries in google.rpc details.
struct ErrorDetails {
  std::optional<google::rpc::ErrorInfo> info;
  std::optional<google::rpc::BadRequest> bad_request;
  std::optional<google::rpc::RetryInfo> retry;
  std::optional<google::rpc::ResourceInfo> resource;

  // The description for `field`, empty when the field is not among the violations.
  std::string ViolationOf(const std::string& field) const {
    if (!bad_request.has_value()) return "";
    for (const auto& violation : bad_request->field_violations()) {
      if (violation.field() == field) return violation.description();
    }
    return "";
  }
};

inline ErrorDetails DetailsOf(const grpc::Status& status) {
  google::rpc::Status rich;
  EXPECT_TRUE(rich.ParseFromString(status.error_details()));
  EXPECT_EQ(rich.code(), status.error_code());
  ErrorDetails details;
  for (const google::protobuf::Any& any : rich.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::BadRequest bad_request;
    google::rpc::RetryInfo retry;
    google::rpc::ResourceInfo resource;
    if (any.UnpackTo(&info)) details.info = info;
    if (any.UnpackTo(&bad_request)) details.bad_request = bad_request;
    if (any.UnpackTo(&retry)) details.retry = retry;
    if (any.UnpackTo(&resource)) details.resource = resource;
  }
  return details;
}

// Thread-safe record of what RpcObserver hears.
class RpcRecorder final : public RpcObserver {
 public:
  void OnRequestStarted(const std::string& method, const std::string& model) override {
    Add("started " + method + " " + model);
  }
  void OnRequestFinished(const std::string& method, const std::string& model, StatusCode code,
                         std::chrono::nanoseconds) override {
    Add("finished " + method + " " + model + " " + std::to_string(static_cast<int>(code)));
  }
  void OnRequestRecord(const RequestRecord& record) override {
    const std::lock_guard lock(mutex_);
    records_.push_back(record);
    changed_.notify_all();
  }
  void OnImage(const std::string& model, const std::string& mime_type, int64_t pixels) override {
    Add("image " + model + " " + mime_type + " " + std::to_string(pixels));
  }
  void OnStage(const std::string& model, Stage stage, std::chrono::nanoseconds) override {
    Add("stage " + model + " " + std::string(StageName(stage)));
  }

  void OnConnections(const ConnectionCounts& counts) override {
    const std::lock_guard lock(mutex_);
    connections_ = counts;
  }

  ConnectionCounts connections() const {
    const std::lock_guard lock(mutex_);
    return connections_;
  }
  std::vector<std::string> events() const {
    const std::lock_guard lock(mutex_);
    return events_;
  }
  // The record of the `count`-th call to end, when it has ended before `patience` is over.
  std::optional<RequestRecord> WaitForRecord(
      size_t count = 1, std::chrono::milliseconds patience = std::chrono::minutes(1)) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, patience, [&] { return records_.size() >= count; })) {
      return std::nullopt;
    }
    return records_[count - 1];
  }

 private:
  void Add(std::string event) {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
  }
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> events_;
  std::vector<RequestRecord> records_;
  ConnectionCounts connections_;
};

// Everything that came over one stream.
struct StreamResult {
  std::vector<v1::StreamImagesResponse> events;
  grpc::Status status;
};

class RpcFixture : public ::testing::Test {
 protected:
  ~RpcFixture() override { StopServer(); }

  // Set before StartServer.
  Limits limits_;
  int32_t max_running_requests_ = 2;
  std::vector<std::string> models_ = {"fake"};
  ModelLoader loader_;
  bool preload_ = true;
  ModelDescriber describe_;
  std::unique_ptr<DeviceLedger> ledger_;
  const Clock* clock_ = &Clock::Real();
  std::string listen_ = "127.0.0.1:0";
  AccessControl access_;
  ServerInfo info_;

  void StartServer(bool wait_until_loaded = true) {
    std::vector<ModelSpec> specs;
    for (const std::string& name : models_) specs.push_back({.name = name, .preload = preload_});
    registry_ = std::make_unique<ModelRegistry>(std::move(specs));
    if (!loader_) loader_ = FakeLoader(controls_);
    executor_ = std::make_unique<DeviceExecutor>(
        registry_.get(), loader_,
        ExecutorOptions{.max_queued_requests = limits_.max_queued_requests,
                        .max_running_requests = max_running_requests_,
                        .describe = describe_,
                        .ledger = ledger_.get()},
        clock_, nullptr);
    Result<std::unique_ptr<GrpcServer>> server =
        GrpcServer::Start({.listen = listen_, .limits = limits_, .access = access_},
                          {.executor = executor_.get(),
                           .registry = registry_.get(),
                           .clock = clock_,
                           .observer = &recorder_},
                          info_);
    ASSERT_TRUE(server.ok()) << server.status().message();
    server_ = std::move(server).value();
    channel_ = Connect();
    images_ = v1::ImageGenerationService::NewStub(channel_);
    auto ready = std::make_shared<std::promise<void>>();
    executor_->Start([ready] { ready->set_value(); });
    if (wait_until_loaded) ready->get_future().wait();
  }

  void StopServer() {
    gate_.Open();
    if (server_ == nullptr) return;
    executor_->Drain(std::chrono::milliseconds(0));
    server_->Shutdown(std::chrono::milliseconds(0));
    server_.reset();
    executor_.reset();
    EXPECT_EQ(controls_->live_samplings, 0);
  }

  // A connection of its own.
  std::shared_ptr<grpc::Channel> Connect(std::string address = {}) const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(address.empty() ? server_->address() : address,
                                     grpc::InsecureChannelCredentials(), arguments);
  }

  static v1::StreamImagesRequest Request(std::string prompt = "a cat") {
    v1::StreamImagesRequest request;
    request.mutable_parameters()->set_prompt(std::move(prompt));
    return request;
  }

  StreamResult Stream(const v1::StreamImagesRequest& request) const {
    grpc::ClientContext context;
    return Stream(request, context);
  }
  StreamResult Stream(const v1::StreamImagesRequest& request, grpc::ClientContext& context) const {
    auto reader = images_->StreamImages(&context, request);
    return ReadToEnd(*reader);
  }
  static StreamResult ReadToEnd(grpc::ClientReader<v1::StreamImagesResponse>& reader) {
    StreamResult result;
    v1::StreamImagesResponse event;
    while (reader.Read(&event)) result.events.push_back(event);
    result.status = reader.Finish();
    return result;
  }

  // Every call of a model waits at gate_ before it runs.
  void StopEveryCall() {
    controls_->on_call = [this](const char*) {
      gate_.Pass();
      return OkStatus();
    };
  }

  // Lets model calls through until the `count`-th call to end has ended.
  RequestRecord LetUntilRecord(size_t count = 1) {
    while (true) {
      const std::optional<RequestRecord> record =
          recorder_.WaitForRecord(count, std::chrono::milliseconds(20));
      if (record.has_value()) return *record;
      gate_.Let();
    }
  }

  Gate gate_;
  RpcRecorder recorder_;
  std::shared_ptr<FakeModelControls> controls_ = std::make_shared<FakeModelControls>();
  std::unique_ptr<ModelRegistry> registry_;
  std::unique_ptr<DeviceExecutor> executor_;
  std::unique_ptr<GrpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::ImageGenerationService::Stub> images_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_UNIT_RPC_RPC_FIXTURE_H_
