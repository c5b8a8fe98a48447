// A load goes on while somebody waits for the model, and no longer.
#include "tests/unit/engine/executor_fixture.h"

namespace tightfit {
namespace {

constexpr int64_t kLoadStopWeightBytes = 100;

class ExecutorLoadStopTest : public ExecutorFixture {
 protected:
  ExecutorLoadStopTest() { preload_ = false; }
  ~ExecutorLoadStopTest() override {
    gate_.Open();
    executor_.reset();
    EXPECT_EQ(ledger_.reserved_bytes(), 0);
  }

  // A load shows progress each time that the gate lets it go on.
  void StartLoading() {
    StartWith({.describe = [](const ModelSpec& spec) -> Result<ModelDescription> {
                 ModelDescription description = FakeDescription(spec.name);
                 description.memory = MemoryOf(spec.name);
                 return description;
               },
               .ledger = &ledger_},
              [this](const ModelSpec& spec,
                     const auto& progress) -> Result<std::unique_ptr<DiffusionModel>> {
                ++loads_;
                for (int part = 0; part < kParts; ++part) {
                  gate_.Pass();
                  if (!progress({"unet", part, kParts})) {
                    ++stopped_;
                    return LoadStopped();
                  }
                }
                return MakeFakeModel(spec.name, controls_, MemoryOf(spec.name));
              },
              {"fake", "other"});
  }

  static ModelMemory MemoryOf(const std::string& model) {
    return {.weights = {{.component = "unet", .content_key = model, .bytes = kLoadStopWeightBytes}},
            .costs = CostsOfRows(1)};
  }

  static constexpr int kParts = 100;
  DeviceLedger ledger_{1000};
  std::atomic<int> loads_{0};
  std::atomic<int> stopped_{0};
};

TEST_F(ExecutorLoadStopTest, ACancelledRequestStopsItsLoad) {
  StartLoading();
  const Request request = Submit();
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  Cancel(request);
  gate_.Let(1);
  const Status status = request.observer->WaitForEnd();
  EXPECT_EQ(status.code(), StatusCode::kCancelled);
  EXPECT_EQ(status.reason(), "CANCELLED");
  EXPECT_EQ(status.metadata().at("stage"), "model_load");
  EXPECT_EQ(stopped_, 1);
  EXPECT_EQ(registry_->Find("fake")->state, ModelState::kUnloaded);
  EXPECT_TRUE(registry_->Find("fake")->failure.ok());
  EXPECT_EQ(ledger_.reserved_bytes(), 0);
  gate_.Open();
  EXPECT_TRUE(Submit().observer->WaitForEnd().ok()) << "the next one loads it";
}

TEST_F(ExecutorLoadStopTest, ADeadlineStopsItsLoad) {
  StartLoading();
  const Request request = Submit("fake", 1, 1, clock_.Now() + std::chrono::seconds(5));
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  clock_.Advance(std::chrono::seconds(6));
  gate_.Let(1);
  EXPECT_EQ(request.observer->WaitForEnd().code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(stopped_, 1);
}

TEST_F(ExecutorLoadStopTest, GoesOnForAnotherThatWaits) {
  StartLoading();
  const Request leaving = Submit();
  const Request staying = Submit();
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  Cancel(leaving);
  gate_.Let(1);
  ASSERT_TRUE(gate_.WaitForArrivals(2));
  gate_.Open();
  EXPECT_EQ(leaving.observer->WaitForEnd().code(), StatusCode::kCancelled);
  EXPECT_TRUE(staying.observer->WaitForEnd().ok());
  EXPECT_EQ(loads_, 1);
  EXPECT_EQ(stopped_, 0);
}

TEST_F(ExecutorLoadStopTest, StopsWhenTheLastOfThemLeaves) {
  StartLoading();
  const Request first = Submit();
  const Request second = Submit();
  const Request other = Submit("other");
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  Cancel(first);
  gate_.Let(1);
  ASSERT_TRUE(gate_.WaitForArrivals(2));
  Cancel(second);
  gate_.Let(1);
  EXPECT_EQ(first.observer->WaitForEnd().code(), StatusCode::kCancelled);
  EXPECT_EQ(stopped_, 1);
  gate_.Open();
  EXPECT_TRUE(other.observer->WaitForEnd().ok()) << "and whoever waits for another model goes on";
}

TEST_F(ExecutorLoadStopTest, GoesOnForAnAdminWhoAskedForIt) {
  StartLoading();
  const Request request = Submit();
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  std::promise<Status> loaded;
  executor_->Load("fake", [&](const Status& status) { loaded.set_value(status); });
  Cancel(request);
  gate_.Open();
  EXPECT_TRUE(loaded.get_future().get().ok());
  EXPECT_EQ(request.observer->WaitForEnd().code(), StatusCode::kCancelled);
  EXPECT_EQ(loads_, 1);
  EXPECT_EQ(registry_->Find("fake")->state, ModelState::kResident);
}

TEST_F(ExecutorLoadStopTest, AnAdminsLoadNeedsNobodyElse) {
  StartLoading();
  std::promise<Status> loaded;
  executor_->Load("fake", [&](const Status& status) { loaded.set_value(status); });
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  const Request request = Submit();
  Cancel(request);
  gate_.Open();
  EXPECT_TRUE(loaded.get_future().get().ok());
  EXPECT_EQ(stopped_, 0);
}

TEST_F(ExecutorLoadStopTest, AnExpiredDrainStopsIt) {
  StartLoading();
  const Request request = Submit();
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  std::thread drain([this] { EXPECT_FALSE(executor_->Drain(std::chrono::milliseconds(1))); });
  while (executor_->queued_count() > 0) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  gate_.Open();
  EXPECT_EQ(request.observer->WaitForEnd().reason(), "DRAINING");
  drain.join();
}

}  // namespace
}  // namespace tightfit
