// WatchModels: what it costs, how many may, and what the metrics hear of it.
#include "server/rpc/watch_models_call.h"
#include "tests/unit/rpc/rpc_fixture.h"

namespace tightfit {
namespace {

using ::testing::Contains;

class WatchersTest : public RpcFixture {
 protected:
  struct Watch {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<v1::WatchModelsResponse>> reader;
  };

  std::unique_ptr<Watch> StartWatch(const std::shared_ptr<grpc::Channel>& channel) {
    auto watch = std::make_unique<Watch>();
    watch->context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    watch->reader =
        v1::ModelService::NewStub(channel)->WatchModels(&watch->context, v1::WatchModelsRequest());
    return watch;
  }
};

TEST_F(WatchersTest, AreInTheMetricsOfRequests) {
  StartServer();
  const auto watch = StartWatch(channel_);
  v1::WatchModelsResponse event;
  ASSERT_TRUE(watch->reader->Read(&event));
  EXPECT_THAT(recorder_.events(), Contains("started WatchModels "));
  watch->context.TryCancel();
  while (watch->reader->Read(&event)) {
  }
  watch->reader->Finish();
  const auto record = recorder_.WaitForRecord();
  ASSERT_TRUE(record.has_value());
  EXPECT_EQ(record->method, "WatchModels");
  EXPECT_EQ(record->status.code(), StatusCode::kCancelled);
}

TEST_F(WatchersTest, EachHearsOfAllStatesInTheirOrder) {
  preload_ = false;
  StartServer();
  std::vector<std::unique_ptr<Watch>> watches;
  v1::WatchModelsResponse event;
  for (int i = 0; i < 20; ++i) {
    watches.push_back(StartWatch(channel_));
    ASSERT_TRUE(watches.back()->reader->Read(&event));
    EXPECT_EQ(event.model().state(), v1::Model::STATE_UNLOADED);
  }
  // Writes are taken as they come, so no state replaces another but by chance.
  executor_->Load("fake", [](const Status&) {});
  for (const auto& watch : watches) {
    int last = 0;
    do {
      ASSERT_TRUE(watch->reader->Read(&event));
      EXPECT_GE(event.model().state(), last) << "loading comes before resident";
      last = event.model().state();
    } while (last != v1::Model::STATE_RESIDENT);
    watch->context.TryCancel();
  }
}

// Whoever changes a model, the thread of the device among them, does not wait for messages.
TEST_F(WatchersTest, AChangeIsMadeWithoutThem) {
  const ModelRegistry registry({{.name = "fake"}});
  ModelWatchers watchers(&registry);
  const ModelSnapshot model = *registry.Find("fake");
  for (int i = 0; i < 100; ++i) watchers.Tell(model);
}

TEST_F(WatchersTest, AreBounded) {
  StartServer();
  constexpr int kPerConnection = 100;
  std::vector<std::shared_ptr<grpc::Channel>> channels;
  std::vector<std::unique_ptr<Watch>> watches;
  v1::WatchModelsResponse event;
  for (size_t i = 0; i < ModelWatchers::kMaxCalls; ++i) {
    if (i % kPerConnection == 0) channels.push_back(Connect());
    watches.push_back(StartWatch(channels.back()));
  }
  for (const auto& watch : watches) ASSERT_TRUE(watch->reader->Read(&event));
  const auto refused = StartWatch(channel_);
  EXPECT_FALSE(refused->reader->Read(&event));
  const grpc::Status status = refused->reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(DetailsOf(status).info->reason(), "TOO_MANY_WATCHES");
  EXPECT_TRUE(DetailsOf(status).retry.has_value());
  for (const auto& watch : watches) watch->context.TryCancel();
}

}  // namespace
}  // namespace tightfit
