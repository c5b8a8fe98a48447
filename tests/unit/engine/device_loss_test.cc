// What the executor does once a call has said that the device is lost.
#include "server/base/device_loss.h"

#include "server/engine/watched_model.h"
#include "tests/unit/engine/executor_fixture.h"

namespace tightfit {
namespace {

class DeviceLossTest : public ExecutorFixture {
 protected:
  // The executor goes before what it reports to.
  ~DeviceLossTest() override {
    gate_.Open();
    executor_.reset();
  }

  // As serve.cc does it.
  ModelLoader Watched(ModelLoader loader) {
    return WatchedLoader(std::move(loader), &progress_, [this](const Status& loss) {
      ++loss_count_;
      executor_->Abandon(loss);
    });
  }

  // From now on `call` fails as a lost device does.
  void LoseDeviceIn(const std::string& call) {
    controls_->on_call = [this, call](const char* made) {
      gate_.Pass();
      if (lost_calls_ > 0) ++calls_after_loss_;
      if (made != call) return OkStatus();
      ++lost_calls_;
      return DeviceLost("CUDA error 700");
    };
  }

  static void ExpectLost(const Status& status) {
    EXPECT_EQ(status.code(), StatusCode::kUnavailable);
    EXPECT_EQ(status.reason(), "DEVICE_LOST");
    EXPECT_TRUE(status.retry_after().has_value());
  }

  ProgressWatch progress_{&clock_, std::chrono::seconds(30)};
  std::atomic<int> loss_count_{0};
  std::atomic<int> lost_calls_{0};
  std::atomic<int> calls_after_loss_{0};
};

class DeviceLossInCallTest : public DeviceLossTest,
                             public testing::WithParamInterface<const char*> {};

TEST_P(DeviceLossInCallTest, EndsEverythingThatRunsAndWaitsWithoutAnotherCall) {
  StartWith({.max_running_requests = 2}, Watched(FakeLoader(controls_)));
  LoseDeviceIn(GetParam());
  std::vector<Request> requests;
  for (int i = 0; i < 10; ++i) requests.push_back(Submit());
  gate_.Open();
  for (const Request& request : requests) ExpectLost(request.observer->WaitForEnd());
  EXPECT_EQ(lost_calls_, 1);
  EXPECT_EQ(calls_after_loss_, 0);
  ExpectLost(Submit().submitted);
  Status loaded;
  executor_->Load("fake", [&](const Status& status) { loaded = status; });
  ExpectLost(loaded);
  EXPECT_TRUE(executor_->Drain(std::chrono::minutes(1)));
  EXPECT_EQ(calls_after_loss_, 0);
  EXPECT_EQ(loss_count_, 1);
  EXPECT_EQ(controls_->live_samplings, 0);
}

INSTANTIATE_TEST_SUITE_P(Calls, DeviceLossInCallTest, testing::Values("begin", "step", "decode"),
                         [](const auto& test) { return std::string(test.param); });

TEST_F(DeviceLossTest, IsNoticedInALoadAndEndsThoseThatWaitForIt) {
  preload_ = false;
  int load_count = 0;
  StartWith({.describe = [](const ModelSpec& spec) { return FakeDescription(spec.name); }},
            Watched([&](const ModelSpec&, const auto&) -> Result<std::unique_ptr<DiffusionModel>> {
              ++load_count;
              gate_.Pass();
              return DeviceLost("CUDA error 719");
            }),
            {"one", "two"});
  std::vector<Request> requests;
  for (const char* const model : {"one", "one", "two"}) requests.push_back(Submit(model));
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  gate_.Open();
  for (const Request& request : requests) ExpectLost(request.observer->WaitForEnd());
  EXPECT_EQ(load_count, 1);
  EXPECT_EQ(loss_count_, 1);
}

TEST_F(DeviceLossTest, TellsQueuedRequestsAtOnceThoughACallHangs) {
  StartWith({.max_running_requests = 1}, Watched(FakeLoader(controls_)));
  StopEveryCall();
  const Request running = Submit();
  const Request queued = Submit();
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  clock_.Advance(std::chrono::seconds(31));
  const auto overdue = progress_.FindOverdue();
  ASSERT_TRUE(overdue.has_value());
  EXPECT_EQ(overdue->model, "fake");
  EXPECT_EQ(overdue->stage, Stage::kTextEncode);
  executor_->Abandon(DeviceLost("a call of a model hangs"));
  ExpectLost(queued.observer->WaitForEnd());
  EXPECT_EQ(running.observer->finished_count(), 0);
  gate_.Open();
  ExpectLost(running.observer->WaitForEnd());
}

TEST_F(DeviceLossTest, LeavesOtherFailuresToTheirRequest) {
  StartWith({}, Watched(FakeLoader(controls_)));
  controls_->on_call = [](const char*) { return Internal("the model failed"); };
  EXPECT_EQ(Submit().observer->WaitForEnd().reason(), "INTERNAL");
  controls_->on_call = {};
  EXPECT_TRUE(Submit().observer->WaitForEnd().ok());
  EXPECT_EQ(loss_count_, 0);
}

TEST_F(DeviceLossTest, WatchesEveryCallAndItsEnd) {
  std::vector<std::string> seen;
  StartWith({}, Watched([&](const ModelSpec& spec, const auto& told) {
              clock_.Advance(std::chrono::seconds(31));
              told({"unet", 1, 2});
              EXPECT_FALSE(progress_.FindOverdue().has_value()) << "a load that beats";
              clock_.Advance(std::chrono::seconds(31));
              EXPECT_TRUE(progress_.FindOverdue().has_value());
              return FakeLoader(controls_)(spec, told);
            }));
  controls_->on_call = [&](const char*) {
    clock_.Advance(std::chrono::hours(1));
    const auto overdue = progress_.FindOverdue();
    seen.emplace_back(overdue.has_value() ? StageName(overdue->stage) : "none");
    return OkStatus();
  };
  EXPECT_TRUE(Submit("fake", 1).observer->WaitForEnd().ok());
  EXPECT_THAT(seen, ::testing::ElementsAre("text_encode", "denoise", "none"))
      << "a step of an hour lets the next call take ten";
  EXPECT_FALSE(progress_.FindOverdue().has_value());
}

}  // namespace
}  // namespace tightfit
