// LoadModel, UnloadModel, UpdateModel, WatchModels, EstimateImages.
#include "tests/unit/rpc/rpc_fixture.h"

namespace tightfit {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kWeightBytes = 1000;
constexpr int64_t kRowBytes = 50;

ModelMemory Memory(const std::string& model) {
  return {
      .weights = {{.component = "unet", .content_key = "unet of " + model, .bytes = kWeightBytes}},
      .load_scratch_bytes = 10,
      .costs = CostsOfRows(kRowBytes)};
}

class ResidencyTest : public RpcFixture {
 protected:
  ResidencyTest() {
    models_ = {"a", "b"};
    preload_ = false;
    ledger_ = std::make_unique<DeviceLedger>(kWeightBytes + 10 + 4 * kRowBytes);
    describe_ = [](const ModelSpec& spec) -> Result<ModelDescription> {
      ModelDescription description = FakeDescription(spec.name);
      description.memory = Memory(spec.name);
      return description;
    };
    loader_ = [this](const ModelSpec& spec,
                     const auto&) -> Result<std::unique_ptr<DiffusionModel>> {
      return MakeFakeModel(spec.name, controls_, Memory(spec.name));
    };
  }
  ~ResidencyTest() override { StopServer(); }

  template <typename Request, typename Response>
  using Method = grpc::Status (v1::ModelService::Stub::*)(grpc::ClientContext*, const Request&,
                                                          Response*);
  template <typename Request, typename Response>
  grpc::Status Call(Method<Request, Response> method, const Request& request, Response* response) {
    const auto stub = v1::ModelService::NewStub(channel_);
    grpc::ClientContext context;
    return ((*stub).*method)(&context, request, response);
  }
  grpc::Status Load(const std::string& name) {
    v1::LoadModelRequest request;
    request.set_name(name);
    load_.Clear();
    return Call(&v1::ModelService::Stub::LoadModel, request, &load_);
  }
  grpc::Status Unload(const std::string& name, bool force = false) {
    v1::UnloadModelRequest request;
    request.set_name(name);
    request.set_force(force);
    unload_.Clear();
    return Call(&v1::ModelService::Stub::UnloadModel, request, &unload_);
  }
  grpc::Status Update(const v1::UpdateModelRequest& request) {
    update_.Clear();
    return Call(&v1::ModelService::Stub::UpdateModel, request, &update_);
  }
  v1::StreamImagesRequest For(const std::string& model) {
    v1::StreamImagesRequest request = Request();
    request.mutable_parameters()->set_model(model);
    return request;
  }

  v1::LoadModelResponse load_;
  v1::UnloadModelResponse unload_;
  v1::UpdateModelResponse update_;
};

TEST_F(ResidencyTest, AModelIsLoadedByItsFirstRequestWhichTellsSo) {
  StartServer();
  const StreamResult result = Stream(For("a"));
  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  ASSERT_TRUE(result.events[2].has_progress());
  EXPECT_EQ(result.events[2].progress().stage(), v1::STAGE_MODEL_LOAD);
  const v1::Timings& timings = result.events.back().completed().timings();
  EXPECT_TRUE(timings.has_model_load_duration());
  const StreamResult again = Stream(For("a"));
  EXPECT_FALSE(again.events.back().completed().timings().has_model_load_duration());
}

TEST_F(ResidencyTest, LoadAndUnloadReturnTheModelAsItIsThen) {
  StartServer();
  ASSERT_TRUE(Load("a").ok());
  EXPECT_EQ(load_.model().state(), v1::Model::STATE_RESIDENT);
  EXPECT_EQ(load_.model().state_reason(), "LoadModel");
  EXPECT_EQ(load_.model().weight_bytes(), kWeightBytes);
  ASSERT_TRUE(Load("b").ok());
  EXPECT_EQ(registry_->Find("a")->state_reason, "evicted for b");
  ASSERT_TRUE(Unload("b").ok());
  EXPECT_EQ(unload_.model().state(), v1::Model::STATE_UNLOADED);
  EXPECT_EQ(unload_.model().compute_dtype(), "fp32") << "known without being loaded";
  EXPECT_EQ(unload_.model().components_size(), 0);
  EXPECT_EQ(recorder_.events().back(), "finished UnloadModel b 0");
}

TEST_F(ResidencyTest, UnknownAndUnnamedModelsAreRefused) {
  StartServer();
  for (const auto& call : {std::function([&](const std::string& n) { return Load(n); }),
                           std::function([&](const std::string& n) { return Unload(n); }),
                           std::function([&](const std::string& n) {
                             v1::UpdateModelRequest request;
                             request.set_name(n);
                             return Update(request);
                           })}) {
    const grpc::Status unknown = call("c");
    EXPECT_EQ(unknown.error_code(), grpc::StatusCode::NOT_FOUND);
    EXPECT_TRUE(DetailsOf(unknown).resource.has_value());
    const grpc::Status unnamed = call("");
    EXPECT_EQ(unnamed.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(DetailsOf(unnamed).ViolationOf("name"), HasSubstr("required"));
  }
}

TEST_F(ResidencyTest, UpdateChangesWhatIsGivenAndNothingElse) {
  StartServer();
  v1::UpdateModelRequest request;
  request.set_name("a");
  request.set_pinned(true);
  request.set_priority(7);
  ASSERT_TRUE(Update(request).ok());
  EXPECT_TRUE(update_.model().pinned());
  EXPECT_EQ(update_.model().priority(), 7);
  v1::UpdateModelRequest other;
  other.set_name("a");
  other.mutable_keep_alive_duration()->set_seconds(90);
  ASSERT_TRUE(Update(other).ok());
  EXPECT_TRUE(update_.model().pinned());
  EXPECT_EQ(update_.model().priority(), 7);
  EXPECT_EQ(update_.model().keep_alive_duration().seconds(), 90);
  ASSERT_TRUE(Load("a").ok());
  const grpc::Status pinned = Unload("a");
  EXPECT_EQ(pinned.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(DetailsOf(pinned).info->reason(), "MODEL_PINNED");
  EXPECT_TRUE(Unload("a", true).ok());
}

TEST_F(ResidencyTest, UpdatesOutOfRangeAreNamedAllAtOnce) {
  StartServer();
  v1::UpdateModelRequest request;
  request.set_name("a");
  request.set_priority(1001);
  request.mutable_keep_alive_duration()->set_seconds(-1);
  const ErrorDetails details = DetailsOf(Update(request));
  EXPECT_THAT(details.ViolationOf("priority"), HasSubstr("-1000 to 1000"));
  EXPECT_THAT(details.ViolationOf("keep_alive_duration"), HasSubstr("366 days"));
}

TEST_F(ResidencyTest, WhatNeverFitsIsRefusedWithItsBytes) {
  StartServer();
  v1::StreamImagesRequest request = For("a");
  request.mutable_parameters()->set_image_count(3);
  const grpc::Status status = Stream(request).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  const ErrorDetails details = DetailsOf(status);
  EXPECT_EQ(details.info->reason(), "EXCEEDS_DEVICE_MEMORY");
  EXPECT_EQ(details.info->metadata().at("needed_bytes"), "1300");
  EXPECT_EQ(details.info->metadata().at("total_bytes"), "1210");
}

TEST_F(ResidencyTest, AWatcherHearsOfEveryModelThenOfEveryChange) {
  StartServer();
  grpc::ClientContext context;
  const auto stub = v1::ModelService::NewStub(channel_);
  const auto reader = stub->WatchModels(&context, v1::WatchModelsRequest());
  std::vector<std::string> seen;
  v1::WatchModelsResponse event;
  const auto read_until = [&](const std::string& last) {
    while (reader->Read(&event)) {
      seen.push_back(event.model().name() + " " + v1::Model::State_Name(event.model().state()) +
                     (event.model().pinned() ? " pinned" : ""));
      if (seen.back() == last) return true;
    }
    return false;
  };
  ASSERT_TRUE(read_until("b STATE_UNLOADED"));
  EXPECT_THAT(seen, ElementsAre("a STATE_UNLOADED", "b STATE_UNLOADED"));
  ASSERT_TRUE(Load("a").ok());
  EXPECT_TRUE(read_until("a STATE_RESIDENT"));
  v1::UpdateModelRequest request;
  request.set_name("a");
  request.set_pinned(true);
  ASSERT_TRUE(Update(request).ok());
  EXPECT_TRUE(read_until("a STATE_RESIDENT pinned"));
  context.TryCancel();
  while (reader->Read(&event)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(ResidencyTest, AWatcherDoesNotHoldTheServersEndUp) {
  StartServer();
  grpc::ClientContext context;
  const auto stub = v1::ModelService::NewStub(channel_);
  const auto reader = stub->WatchModels(&context, v1::WatchModelsRequest());
  v1::WatchModelsResponse event;
  ASSERT_TRUE(reader->Read(&event));
  StopServer();
  while (reader->Read(&event)) {
  }
  EXPECT_FALSE(reader->Finish().ok());
}

TEST_F(ResidencyTest, AnEstimateDoesNothingAndTellsEverything) {
  StartServer();
  ASSERT_TRUE(Load("a").ok());
  v1::EstimateImagesRequest request;
  request.mutable_parameters()->set_model("b");
  request.mutable_parameters()->set_image_count(2);
  v1::EstimateImagesResponse response;
  const auto estimate = [&] {
    grpc::ClientContext context;
    response.Clear();
    return images_->EstimateImages(&context, request, &response);
  };
  ASSERT_TRUE(estimate().ok());
  EXPECT_EQ(response.admission(), v1::EstimateImagesResponse::ADMISSION_NOW);
  EXPECT_EQ(response.parameters().width_px(), 64);
  EXPECT_EQ(response.weight_bytes(), kWeightBytes);
  EXPECT_EQ(response.load_scratch_bytes(), 0);
  EXPECT_EQ(response.denoise_bytes(), 4 * kRowBytes);
  EXPECT_EQ(response.request_bytes(), 4 * kRowBytes);
  EXPECT_TRUE(response.is_measured());
  EXPECT_EQ(response.limit_bytes(), 1210);
  EXPECT_EQ(response.free_bytes(), 210);
  EXPECT_EQ(response.evictable_bytes(), kWeightBytes);
  EXPECT_THAT(response.evicted_models(), ElementsAre("a"));
  EXPECT_EQ(registry_->Find("a")->state, ModelState::kResident);
  request.mutable_parameters()->set_image_count(3);
  ASSERT_TRUE(estimate().ok());
  EXPECT_EQ(response.admission(), v1::EstimateImagesResponse::ADMISSION_NEVER);
  request.mutable_parameters()->set_width_px(1);
  EXPECT_THAT(DetailsOf(estimate()).ViolationOf("width_px"), HasSubstr("16 to 2048"));
}

}  // namespace
}  // namespace tightfit
