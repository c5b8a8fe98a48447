#include "server/memory/memory_accounts.h"
#include "tests/unit/rpc/rpc_fixture.h"

namespace tightfit {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

class ModelServiceTest : public RpcFixture {
 protected:
  grpc::Status List(int32_t page_size, const std::string& token, v1::ListModelsResponse* response) {
    grpc::ClientContext context;
    v1::ListModelsRequest request;
    request.set_page_size(page_size);
    request.set_page_token(token);
    return v1::ModelService::NewStub(channel_)->ListModels(&context, request, response);
  }
  grpc::Status Get(const std::string& name, v1::GetModelResponse* response) {
    grpc::ClientContext context;
    v1::GetModelRequest request;
    request.set_name(name);
    return v1::ModelService::NewStub(channel_)->GetModel(&context, request, response);
  }
};

TEST_F(ModelServiceTest, ListsWeightsThatARequestNeededOnDemandWhileTheyAreThere) {
  StartServer();
  MemoryAccount* const weights =
      MemoryAccounts::Instance().Get("fake", "vae_encoder", MemoryPurpose::kWeights);
  weights->Charge(77);
  v1::GetModelResponse response;
  ASSERT_TRUE(Get("fake", &response).ok());
  ASSERT_THAT(response.model().components(), SizeIs(5));
  const v1::Component& encoder = response.model().components(4);
  EXPECT_EQ(encoder.name(), "vae_encoder");
  EXPECT_EQ(encoder.weight_bytes(), 77);
  ASSERT_THAT(encoder.memory(), SizeIs(1));
  EXPECT_EQ(encoder.memory(0).current_bytes(), 77);
  weights->Credit(77);
  ASSERT_TRUE(Get("fake", &response).ok());
  EXPECT_THAT(response.model().components(), SizeIs(4));
}

TEST_F(ModelServiceTest, TellsEverythingOfAResidentModel) {
  StartServer();
  v1::GetModelResponse response;
  ASSERT_TRUE(Get("fake", &response).ok());
  const v1::Model& model = response.model();
  EXPECT_EQ(model.name(), "fake");
  EXPECT_EQ(model.state(), v1::Model::STATE_RESIDENT);
  EXPECT_GT(model.state_time().seconds(), 1'600'000'000);
  EXPECT_EQ(model.format(), "hf8");
  EXPECT_EQ(model.scope(), "linear+conv");
  EXPECT_EQ(model.compute_dtype(), "fp32");
  EXPECT_EQ(model.device(), "cpu");
  EXPECT_EQ(model.family(), "sdxl");
  EXPECT_EQ(model.hash(), "0123456789");
  EXPECT_EQ(model.license(), "Apache-2.0");
  EXPECT_EQ(model.defaults().width_px(), 64);
  EXPECT_EQ(model.defaults().step_count(), 4);
  EXPECT_EQ(model.defaults().sampler(), "euler");
  EXPECT_THAT(model.samplers(), ElementsAre("euler", "euler-a"));
  EXPECT_EQ(model.pixels_per_latent(), 4);
  EXPECT_EQ(model.load_duration().nanos(), 500'000'000);
  ASSERT_THAT(model.components(), SizeIs(4));
  const v1::Component& unet = model.components(0);
  EXPECT_EQ(unet.name(), "unet");
  EXPECT_EQ(unet.parameter_count(), 1000);
  EXPECT_EQ(unet.fp16_bytes(), 2000);
  EXPECT_EQ(unet.weight_bytes(), 1100);
  EXPECT_EQ(unet.packed_bytes(), 900);
  EXPECT_EQ(unet.packed_parameter_count(), 900);
  EXPECT_EQ(unet.packed_module_count(), 9);
  ASSERT_THAT(unet.modules_left(), SizeIs(1));
  EXPECT_EQ(unet.modules_left(0).module(), "conv_in");
  EXPECT_EQ(unet.modules_left(0).reason(), "excluded by the configuration");
}

TEST_F(ModelServiceTest, TellsTheBytesOfEveryComponentAndPurpose) {
  // Accounts live as long as the process: a name of this test's own.
  models_ = {"measured"};
  StartServer();
  MemoryAccounts& accounts = MemoryAccounts::Instance();
  MemoryAccount* const weights = accounts.Get("measured", "unet", MemoryPurpose::kWeights);
  MemoryAccount* const scratch = accounts.Get("measured", "unet", MemoryPurpose::kScratch);
  weights->Charge(700);
  scratch->Charge(50);
  scratch->Credit(40);
  v1::GetModelResponse response;
  ASSERT_TRUE(Get("measured", &response).ok());
  const v1::Component& unet = response.model().components(0);
  ASSERT_THAT(unet.memory(), SizeIs(2));
  EXPECT_EQ(unet.memory(0).purpose(), "weights");
  EXPECT_EQ(unet.memory(0).current_bytes(), 700);
  EXPECT_EQ(unet.memory(0).peak_bytes(), 700);
  EXPECT_EQ(unet.memory(1).purpose(), "scratch");
  EXPECT_EQ(unet.memory(1).current_bytes(), 10);
  EXPECT_EQ(unet.memory(1).peak_bytes(), 50);
  EXPECT_THAT(response.model().components(3).memory(), IsEmpty());
  weights->Credit(700);
  scratch->Credit(10);
}

TEST_F(ModelServiceTest, TellsWhyAModelFailed) {
  loader_ = FakeLoader(controls_, "fake",
                       Status(StatusCode::kDataLoss, "CHECKSUM_MISMATCH", "unet: wrong checksum")
                           .WithDetail("/models/fake"));
  StartServer();
  v1::GetModelResponse response;
  ASSERT_TRUE(Get("fake", &response).ok());
  EXPECT_EQ(response.model().state(), v1::Model::STATE_FAILED);
  EXPECT_EQ(response.model().failure_reason(), "CHECKSUM_MISMATCH");
  EXPECT_EQ(response.model().failure_message(), "unet: wrong checksum");
  EXPECT_THAT(response.SerializeAsString(), Not(HasSubstr("/models")));
}

TEST_F(ModelServiceTest, TellsHowFarALoadIs) {
  loader_ = [this](const ModelSpec& spec, const auto& progress) {
    progress({"unet", 25, 100});
    gate_.Pass();
    return FakeLoader(controls_)(spec, progress);
  };
  StartServer(/*wait_until_loaded=*/false);
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  v1::GetModelResponse response;
  ASSERT_TRUE(Get("fake", &response).ok());
  EXPECT_EQ(response.model().state(), v1::Model::STATE_LOADING);
  EXPECT_EQ(response.model().loaded_bytes(), 25);
  EXPECT_EQ(response.model().total_bytes(), 100);
  EXPECT_THAT(response.model().components(), IsEmpty());
}

TEST_F(ModelServiceTest, RefusesANameThatIsMissingOrUnknown) {
  StartServer();
  v1::GetModelResponse response;
  const grpc::Status missing = Get("", &response);
  EXPECT_EQ(missing.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(DetailsOf(missing).ViolationOf("name"), "");
  const grpc::Status unknown = Get("other", &response);
  EXPECT_EQ(unknown.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(DetailsOf(unknown).info->reason(), "MODEL_NOT_FOUND");
  EXPECT_EQ(DetailsOf(unknown).resource->resource_name(), "other");
  EXPECT_THAT(recorder_.events(),
              ElementsAre("started GetModel unknown", "finished GetModel unknown 3",
                          "started GetModel unknown", "finished GetModel unknown 5"));
}

TEST_F(ModelServiceTest, ListsInTheOrderOfTheConfigurationWithoutModules) {
  models_ = {"c", "a", "b"};
  StartServer();
  v1::ListModelsResponse response;
  ASSERT_TRUE(List(0, "", &response).ok());
  ASSERT_THAT(response.models(), SizeIs(3));
  EXPECT_EQ(response.models(0).name(), "c");
  EXPECT_EQ(response.models(1).name(), "a");
  EXPECT_EQ(response.models(2).name(), "b");
  EXPECT_EQ(response.next_page_token(), "");
  EXPECT_THAT(response.models(0).components(0).modules_left(), IsEmpty());
}

TEST_F(ModelServiceTest, ListsPageByPage) {
  models_ = {"a", "b", "c", "d", "e"};
  StartServer();
  std::vector<std::string> names;
  std::string token;
  int pages = 0;
  do {
    v1::ListModelsResponse response;
    ASSERT_TRUE(List(2, token, &response).ok());
    for (const v1::Model& model : response.models()) names.push_back(model.name());
    token = response.next_page_token();
    ASSERT_LE(++pages, 3);
  } while (!token.empty());
  EXPECT_THAT(names, ElementsAre("a", "b", "c", "d", "e"));
  EXPECT_EQ(pages, 3);
}

TEST_F(ModelServiceTest, RefusesBadPages) {
  models_ = {"a", "b", "c"};
  StartServer();
  v1::ListModelsResponse response;
  for (const int32_t size : {-1, 1001}) {
    const grpc::Status status = List(size, "", &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << size;
    EXPECT_THAT(DetailsOf(status).ViolationOf("page_size"), HasSubstr("1000")) << size;
  }
  for (const char* token : {"x", "0", "3", "-1", "1x", "01", " 1", "99999999999999999999"}) {
    const grpc::Status status = List(0, token, &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << token;
    EXPECT_NE(DetailsOf(status).ViolationOf("page_token"), "") << token;
  }
  EXPECT_TRUE(List(1000, "2", &response).ok());
}

TEST_F(ModelServiceTest, RefusesUnknownFields) {
  StartServer();
  const auto stub = v1::ModelService::NewStub(channel_);
  v1::ListModelsRequest request;
  request.GetReflection()->MutableUnknownFields(&request)->AddVarint(50, 1);
  grpc::ClientContext context;
  v1::ListModelsResponse response;
  const grpc::Status status = stub->ListModels(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(DetailsOf(status).ViolationOf("50"), "");
}

}  // namespace
}  // namespace tightfit
