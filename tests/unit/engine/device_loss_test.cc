// What the executor does once a call has said that the device is lost.
#include "server/base/device_loss.h"

#include "server/engine/watched_device.h"
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

  // As RunningServer does it.
  ModelLoader Watched(ModelLoader loader) { return device_.Loader(std::move(loader)); }

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
  std::function<Status()> probe_ = [] { return OkStatus(); };
  WatchedDevice device_{&progress_, [this] { return probe_(); },
                        [this](const Status& loss) {
                          ++loss_count_;
                          executor_->Abandon(loss);
                        }};
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
  EXPECT_EQ(overdue->what, DeviceCall::kTextEncode);
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
    seen.emplace_back(overdue.has_value() ? DeviceCallName(overdue->what) : "none");
    return OkStatus();
  };
  EXPECT_TRUE(Submit("fake", 1).observer->WaitForEnd().ok());
  EXPECT_THAT(seen, ::testing::ElementsAre("text_encode", "denoise", "none"))
      << "a step of an hour lets the next call take ten";
  EXPECT_FALSE(progress_.FindOverdue().has_value());
}

TEST_F(DeviceLossTest, WatchesAModelThatLeaves) {
  StartWith({}, Watched(FakeLoader(controls_)));
  controls_->on_leave = [this] { gate_.Pass(); };
  std::promise<Status> unloaded;
  executor_->Unload("fake", false, [&](const Status& status) { unloaded.set_value(status); });
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  clock_.Advance(std::chrono::seconds(31));
  const auto overdue = progress_.FindOverdue();
  ASSERT_TRUE(overdue.has_value());
  EXPECT_EQ(overdue->model, "fake");
  EXPECT_EQ(DeviceCallName(overdue->what), "model_evict");
  gate_.Open();
  EXPECT_TRUE(unloaded.get_future().get().ok());
  EXPECT_FALSE(progress_.FindOverdue().has_value());
}

TEST_F(DeviceLossTest, IsNoticedWhenAModelLeaves) {
  StartWith({}, Watched(FakeLoader(controls_)), {"one", "two"});
  controls_->on_leave = [this] { probe_ = [] { return DeviceLost("CUDA error 700"); }; };
  std::promise<Status> unloaded;
  executor_->Unload("one", false, [&](const Status& status) { unloaded.set_value(status); });
  ExpectLost(unloaded.get_future().get());
  EXPECT_EQ(loss_count_, 1);
  ExpectLost(Submit("two").submitted);
}

TEST_F(DeviceLossTest, WatchesAndNoticesWhenCachesAreDropped) {
  for (const bool is_lost : {false, true}) {
    controls_->on_call = [fails = std::make_shared<std::atomic<bool>>(true)](const char*) {
      return fails->exchange(false)
                 ? Status(StatusCode::kResourceExhausted, "OUT_OF_MEMORY", "full")
                 : OkStatus();
    };
    std::string seen;
    StartWith({.drop_caches = device_.CacheDrop([&] {
                clock_.Advance(std::chrono::seconds(31));
                const auto overdue = progress_.FindOverdue();
                seen = overdue.has_value() ? DeviceCallName(overdue->what) : "none";
                if (is_lost) probe_ = [] { return DeviceLost("CUDA error 214"); };
              })},
              Watched(FakeLoader(controls_)));
    const Status status = Submit().observer->WaitForEnd();
    EXPECT_EQ(seen, "cache_drop");
    if (is_lost) {
      ExpectLost(status);
    } else {
      EXPECT_TRUE(status.ok());
    }
    EXPECT_EQ(loss_count_, is_lost ? 1 : 0);
    executor_.reset();
  }
}

// Errors whose codes nobody has listed: whether the device lives is asked, and not guessed.
TEST_F(DeviceLossTest, AsksADeviceForALifeSignAfterAnErrorThatNobodyKnows) {
  StartWith({}, Watched(FakeLoader(controls_)));
  std::atomic<int> probed{0};
  probe_ = [&] {
    ++probed;
    return OkStatus();
  };
  controls_->on_call = [](const char*) { return Internal("the model failed"); };
  EXPECT_EQ(Submit().observer->WaitForEnd().reason(), "INTERNAL");
  EXPECT_EQ(probed, 1);
  controls_->on_call = [](const char*) {
    return Status(StatusCode::kInvalidArgument, "BAD_PROMPT", "no");
  };
  EXPECT_EQ(Submit().observer->WaitForEnd().reason(), "BAD_PROMPT");
  EXPECT_EQ(probed, 1) << "what a request got wrong says nothing of the device";
  probe_ = [] { return DeviceLost("CUDA error 999"); };
  controls_->on_call = [](const char*) { return Internal("the model failed"); };
  ExpectLost(Submit().observer->WaitForEnd());
  EXPECT_EQ(loss_count_, 1);
}

// A step takes as long as its size says: limits of ten minutes are for images of usual sizes.
TEST_F(DeviceLossTest, GivesACallTheTimeThatItsSizeNeeds) {
  StartWith({}, Watched([&](const ModelSpec& spec, const auto&) {
              RequestCosts costs = CostsOfRows(0);
              costs.denoise_latent_seconds = 1.0;
              costs.decode_latent_seconds = 2.0;
              return Result<std::unique_ptr<DiffusionModel>>(
                  MakeFakeModel(spec.name, controls_, {.costs = costs}));
            }));
  std::vector<std::string> late;
  // 8 px are 2 latents a side: 3 images of 4 latents.
  controls_->on_call = [&](const char* call) {
    const int seconds = call == std::string("step") ? 120 : call == std::string("decode") ? 80 : 30;
    clock_.Advance(std::chrono::seconds(seconds));
    if (progress_.FindOverdue().has_value()) late.push_back(std::string("early ") + call);
    clock_.Advance(std::chrono::milliseconds(1));
    if (!progress_.FindOverdue().has_value()) late.push_back(std::string("never ") + call);
    return Internal("enough");
  };
  for (const char* const call : {"begin", "decode", "step"}) {
    const auto check = controls_->on_call;
    controls_->on_call = [check, call](const char* made) {
      return std::string(made) == call ? check(made) : OkStatus();
    };
    EXPECT_EQ(Submit("fake", 1, 3).observer->WaitForEnd().reason(), "INTERNAL") << call;
    controls_->on_call = check;
  }
  EXPECT_THAT(late, ::testing::IsEmpty());
}

}  // namespace
}  // namespace tightfit
