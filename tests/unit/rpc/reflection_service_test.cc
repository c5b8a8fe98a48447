// Reflection v1 as tools use it, against the descriptors that the program was built with.
#include "tests/unit/rpc/reflection_client.h"
#include "tests/unit/rpc/rpc_fixture.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <grpc/reflection/v1/reflection.grpc.pb.h>

#include <set>

namespace tightfit {
namespace {

namespace reflection = grpc::reflection::v1;
using google::protobuf::DescriptorPool;
using google::protobuf::FileDescriptorProto;
using ::testing::IsSupersetOf;

class ReflectionServiceTest : public RpcFixture {
 protected:
  void SetUp() override {
    StartServer();
    stub_ = reflection::ServerReflection::NewStub(channel_);
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    stream_ = stub_->ServerReflectionInfo(&context_);
  }
  void TearDown() override {
    stream_->WritesDone();
    EXPECT_TRUE(stream_->Finish().ok());
  }

  reflection::ServerReflectionResponse Ask(
      const std::function<void(reflection::ServerReflectionRequest&)>& fill) {
    reflection::ServerReflectionRequest request;
    request.set_host("h");
    fill(request);
    EXPECT_TRUE(stream_->Write(request));
    reflection::ServerReflectionResponse response;
    EXPECT_TRUE(stream_->Read(&response));
    EXPECT_EQ(response.valid_host(), "h");
    EXPECT_EQ(response.original_request().SerializeAsString(), request.SerializeAsString());
    return response;
  }

  reflection::ServerReflectionResponse AskSymbol(const std::string& name) {
    return Ask([&](auto& request) { request.set_file_containing_symbol(name); });
  }
  reflection::ServerReflectionResponse AskFile(const std::string& name) {
    return Ask([&](auto& request) { request.set_file_by_filename(name); });
  }

  static std::set<std::string> FileNames(const reflection::ServerReflectionResponse& response) {
    std::set<std::string> names;
    for (const std::string& bytes : response.file_descriptor_response().file_descriptor_proto()) {
      FileDescriptorProto file;
      EXPECT_TRUE(file.ParseFromString(bytes));
      EXPECT_TRUE(names.insert(file.name()).second) << "sent twice: " << file.name();
    }
    return names;
  }

  static void ExpectNotFound(const reflection::ServerReflectionResponse& response) {
    EXPECT_EQ(response.error_response().error_code(), grpc::StatusCode::NOT_FOUND);
    EXPECT_NE(response.error_response().error_message(), "");
  }

  grpc::ClientContext context_;
  std::unique_ptr<reflection::ServerReflection::Stub> stub_;
  std::unique_ptr<grpc::ClientReaderWriter<reflection::ServerReflectionRequest,
                                           reflection::ServerReflectionResponse>>
      stream_;
};

TEST_F(ReflectionServiceTest, ListsWhatV1AlphaLists) {
  const auto response = Ask([](auto& request) { request.set_list_services("*"); });
  std::set<std::string> names;
  for (const auto& service : response.list_services_response().service()) {
    names.insert(service.name());
  }
  // The messages of both versions are the same.
  reflection::ServerReflectionResponse alpha;
  ASSERT_TRUE(alpha.ParseFromString(ListServices(channel_).message));
  std::set<std::string> alpha_names;
  for (const auto& service : alpha.list_services_response().service()) {
    alpha_names.insert(service.name());
  }
  EXPECT_EQ(names, alpha_names);
  EXPECT_TRUE(names.contains("grpc.reflection.v1.ServerReflection"));
}

TEST_F(ReflectionServiceTest, GivesAFileWithAllThatItImports) {
  const auto* const file =
      DescriptorPool::generated_pool()->FindFileByName("tightfit/v1/model.proto");
  ASSERT_NE(file, nullptr);
  const auto response = AskFile("tightfit/v1/model.proto");
  DescriptorPool pool;
  const auto& files = response.file_descriptor_response().file_descriptor_proto();
  // Those that are imported come after those that import them.
  for (int i = files.size() - 1; i >= 0; --i) {
    FileDescriptorProto proto;
    ASSERT_TRUE(proto.ParseFromString(files[i]));
    EXPECT_NE(pool.BuildFile(proto), nullptr) << proto.name();
  }
  const auto* const built = pool.FindFileByName("tightfit/v1/model.proto");
  ASSERT_NE(built, nullptr);
  EXPECT_EQ(built->DebugString(), file->DebugString());
}

TEST_F(ReflectionServiceTest, FindsServicesMethodsMessagesFieldsAndEnums) {
  for (const char* symbol :
       {"tightfit.v1.ModelService", "tightfit.v1.ModelService.LoadModel", "tightfit.v1.Model",
        "tightfit.v1.Model.name", "tightfit.v1.Model.State"}) {
    const auto response = AskSymbol(symbol);
    EXPECT_TRUE(response.has_file_descriptor_response()) << symbol;
    EXPECT_FALSE(response.has_error_response()) << symbol;
  }
}

TEST_F(ReflectionServiceTest, SendsAFileOnceAStream) {
  EXPECT_TRUE(FileNames(AskSymbol("tightfit.v1.Model")).contains("tightfit/v1/model.proto"));
  const auto again = AskFile("tightfit/v1/model.proto");
  EXPECT_TRUE(again.has_file_descriptor_response());
  EXPECT_TRUE(FileNames(again).empty());
}

TEST_F(ReflectionServiceTest, KnowsExtensions) {
  const auto* const pool = DescriptorPool::generated_pool();
  const auto* const options = pool->FindMessageTypeByName("google.protobuf.FileOptions");
  ASSERT_NE(options, nullptr);
  const auto response = Ask([](auto& request) {
    request.set_all_extension_numbers_of_type("google.protobuf.FileOptions");
  });
  EXPECT_EQ(response.all_extension_numbers_response().base_type_name(),
            "google.protobuf.FileOptions");
  std::vector<const google::protobuf::FieldDescriptor*> extensions;
  pool->FindAllExtensions(options, &extensions);
  EXPECT_EQ(response.all_extension_numbers_response().extension_number_size(),
            static_cast<int>(extensions.size()));
  ExpectNotFound(Ask([](auto& request) {
    request.mutable_file_containing_extension()->set_containing_type("tightfit.v1.Model");
    request.mutable_file_containing_extension()->set_extension_number(7);
  }));
  ExpectNotFound(
      Ask([](auto& request) { request.set_all_extension_numbers_of_type("no.such.Type"); }));
}

TEST_F(ReflectionServiceTest, SaysWhatItDoesNotKnowAndGoesOn) {
  ExpectNotFound(AskFile("no/such.proto"));
  ExpectNotFound(AskSymbol("no.such.Symbol"));
  EXPECT_EQ(Ask([](auto&) {}).error_response().error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_TRUE(AskSymbol("tightfit.v1.Model").has_file_descriptor_response());
}

}  // namespace
}  // namespace tightfit
