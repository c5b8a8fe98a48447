// A model whose files could not be read comes back by itself once they can be.
#include "tests/unit/engine/executor_fixture.h"

#include <atomic>
#include <map>

namespace tightfit {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

Status Missing() { return {StatusCode::kDataLoss, "FILE_MISSING", "model.json: unreadable"}; }
Status Truncated() { return {StatusCode::kDataLoss, "FILE_TRUNCATED", "unet: too short"}; }
Status Damaged() { return {StatusCode::kDataLoss, "CHECKSUM_MISMATCH", "unet: wrong hash"}; }

class LoadCounter final : public ExecutorObserver {
 public:
  void OnLoaded(const std::string&, const Status&, std::chrono::nanoseconds) override { ++loads; }
  std::atomic<int> loads{0};
};

class UnreadFilesTest : public ExecutorFixture {
 protected:
  UnreadFilesTest() {
    preload_ = false;
    metrics_ = &counter_;
  }
  ~UnreadFilesTest() override { executor_.reset(); }

  // One model, "fake", whose directory answers with what SetDirectory says.
  void StartModel(TaskRunner run_look = {}) {
    executor_.reset();
    const ModelLoader fake = FakeLoader(controls_);
    StartWith({.describe = [this](const ModelSpec& spec) -> Result<ModelDescription> {
                 ++looks_;
                 clock_.Advance(look_takes_.load());
                 const std::lock_guard lock(directory_mutex_);
                 if (!directory_.ok()) return directory_;
                 return FakeDescription(spec.name);
               },
               .run_look = std::move(run_look)},
              [this, fake](const ModelSpec& spec,
                           const auto& progress) -> Result<std::unique_ptr<DiffusionModel>> {
                const std::lock_guard lock(directory_mutex_);
                if (!weights_.ok()) return weights_;
                return fake(spec, progress);
              });
  }

  void SetDirectory(Status directory, Status weights) {
    const std::lock_guard lock(directory_mutex_);
    directory_ = std::move(directory);
    weights_ = std::move(weights);
  }
  void TakeAway(const Status& why) { SetDirectory(why, why); }
  void BringBack() { SetDirectory(OkStatus(), OkStatus()); }

  Status Run() {
    const Request request = Submit();
    return request.submitted.ok() ? request.observer->WaitForEnd() : request.submitted;
  }
  ModelSnapshot Model() const { return *registry_->Find("fake"); }
  Status Unload() {
    auto done = std::make_shared<std::promise<Status>>();
    executor_->Unload("fake", false, [done](const Status& status) { done->set_value(status); });
    return done->get_future().get();
  }
  // Time passes, and the executor has had a turn after it: commands have theirs behind the looks.
  void Pass(milliseconds duration) {
    clock_.Advance(duration);
    for (int turn = 0; turn < 2; ++turn) {
      auto done = std::make_shared<std::promise<void>>();
      executor_->Load("nobody", [done](const Status&) { done->set_value(); });
      done->get_future().wait();
    }
  }

  LoadCounter counter_;
  std::atomic<int> looks_{0};
  std::atomic<milliseconds> look_takes_{milliseconds(0)};
  std::mutex directory_mutex_;
  Status directory_;
  Status weights_;
};

TEST_F(UnreadFilesTest, AModelWhoseDirectoryWasAwayDrawsAgainWithoutAnAdmin) {
  for (const Status& why : {Missing(), Truncated()}) {
    BringBack();
    StartModel();
    TakeAway(why);
    EXPECT_EQ(Run().reason(), why.reason());
    EXPECT_EQ(Model().state, ModelState::kFailed);
    BringBack();
    Pass(seconds(30));
    EXPECT_EQ(Model().state, ModelState::kUnloaded);
    EXPECT_TRUE(Model().failure.ok());
    EXPECT_TRUE(Run().ok()) << why.reason();
    EXPECT_EQ(Model().state, ModelState::kResident);
  }
}

TEST_F(UnreadFilesTest, AModelThatWasAwayFromTheStartComesToo) {
  TakeAway(Missing());
  StartModel();
  EXPECT_EQ(Run().reason(), "MODEL_FAILED");
  BringBack();
  Pass(seconds(30));
  EXPECT_TRUE(Run().ok());
}

TEST_F(UnreadFilesTest, ItsFilesAreLookedAtNoMoreOftenThanEveryThirtySeconds) {
  TakeAway(Missing());
  StartModel();
  EXPECT_EQ(looks_, 1);
  Pass(milliseconds(29'999));
  EXPECT_EQ(looks_, 1);
  Pass(milliseconds(1));
  EXPECT_EQ(looks_, 2);
  for (int request = 0; request < 20; ++request) EXPECT_EQ(Run().reason(), "MODEL_FAILED");
  Pass(seconds(29));
  EXPECT_EQ(looks_, 2);
}

TEST_F(UnreadFilesTest, LooksThatTakeLongAreFew) {
  TakeAway(Missing());
  look_takes_ = seconds(10);
  StartModel();
  Pass(seconds(199));
  EXPECT_EQ(looks_, 1) << "no more than a twentieth of the time";
  Pass(seconds(1));
  EXPECT_EQ(looks_, 2);
}

TEST_F(UnreadFilesTest, LooksInVainAreNoLoadsAndNoChanges) {
  TakeAway(Missing());
  StartModel();
  std::atomic<int> changes{0};
  registry_->OnChange([&](const ModelSnapshot&) { ++changes; });
  const int loads = counter_.loads;
  for (int look = 0; look < 5; ++look) Pass(seconds(30));
  EXPECT_EQ(looks_, 6);
  EXPECT_EQ(changes, 0);
  EXPECT_EQ(counter_.loads, loads);
}

TEST_F(UnreadFilesTest, TheReasonIsTheOneOfTheLastLook) {
  TakeAway(Missing());
  StartModel();
  const Status half = {StatusCode::kFailedPrecondition, "BAD_MODEL_DIRECTORY", "model.json: half"};
  TakeAway(half);
  Pass(seconds(30));
  EXPECT_EQ(Model().failure.reason(), "BAD_MODEL_DIRECTORY") << "it is being copied";
  BringBack();
  Pass(seconds(30));
  EXPECT_TRUE(Run().ok());
}

TEST_F(UnreadFilesTest, AFailureOfAnotherKindStaysUntilSomebodyLoadsTheModel) {
  StartModel();
  SetDirectory(OkStatus(), Damaged());
  EXPECT_EQ(Run().reason(), "CHECKSUM_MISMATCH");
  BringBack();
  Pass(std::chrono::hours(1));
  EXPECT_EQ(Run().reason(), "MODEL_FAILED");
  EXPECT_EQ(Model().state, ModelState::kFailed);
  EXPECT_EQ(looks_, 1);
}

TEST_F(UnreadFilesTest, WhoAsksMeanwhileHearsWhenToTryAgain) {
  TakeAway(Missing());
  StartModel();
  const Status refused = Run();
  EXPECT_EQ(refused.reason(), "MODEL_FAILED");
  EXPECT_EQ(refused.metadata().at("failure_reason"), "FILE_MISSING");
  EXPECT_EQ(refused.retry_after(), seconds(30));
  BringBack();
  Pass(seconds(30));
  SetDirectory(OkStatus(), Damaged());
  EXPECT_EQ(Run().reason(), "CHECKSUM_MISMATCH");
  EXPECT_FALSE(Run().retry_after().has_value()) << "it will not come back by itself";
}

TEST_F(UnreadFilesTest, UnloadingAFailedModelLooksAtItAtOnce) {
  StartModel();
  SetDirectory(OkStatus(), Damaged());
  EXPECT_EQ(Run().reason(), "CHECKSUM_MISMATCH");
  EXPECT_TRUE(Unload().ok());
  EXPECT_EQ(Model().state, ModelState::kUnloaded) << "the next request tries it";
  BringBack();
  EXPECT_TRUE(Run().ok());
}

TEST_F(UnreadFilesTest, UnloadingAModelThatIsStillAwayLeavesItFailed) {
  TakeAway(Missing());
  StartModel();
  EXPECT_TRUE(Unload().ok());
  EXPECT_EQ(Model().state, ModelState::kFailed);
  BringBack();
  Pass(seconds(30));
  EXPECT_EQ(Model().state, ModelState::kUnloaded);
}

TEST_F(UnreadFilesTest, ALookThatHangsHoldsUpNothing) {
  std::mutex mutex;
  std::vector<std::function<void()>> looks;
  TakeAway(Missing());
  StartModel([&](std::function<void()> look) {
    const std::lock_guard lock(mutex);
    looks.push_back(std::move(look));
  });
  BringBack();
  for (int turn = 0; turn < 3; ++turn) Pass(seconds(30));  // the executor has its turns
  EXPECT_EQ(Model().state, ModelState::kFailed);
  auto came_back = std::make_shared<std::promise<void>>();
  auto is_first = std::make_shared<std::atomic<bool>>(true);
  registry_->OnChange([came_back, is_first](const ModelSnapshot& model) {
    if (model.state == ModelState::kUnloaded && is_first->exchange(false)) came_back->set_value();
  });
  {
    const std::lock_guard lock(mutex);
    ASSERT_EQ(looks.size(), 1u) << "one at a time";
    looks.front()();
  }
  EXPECT_EQ(came_back->get_future().wait_for(seconds(60)), std::future_status::ready);
  EXPECT_TRUE(Run().ok());
}

TEST_F(UnreadFilesTest, ALookThatOutlivesTheExecutorIsForgotten) {
  std::vector<std::function<void()>> looks;
  TakeAway(Missing());
  StartModel([&](std::function<void()> look) { looks.push_back(std::move(look)); });
  Pass(seconds(30));
  executor_.reset();
  ASSERT_EQ(looks.size(), 1u);
  looks.front()();
}

TEST_F(UnreadFilesTest, WithoutAnyRequestTheExecutorWakesForTheNextLook) {
  TakeAway(Missing());
  StartModel();
  BringBack();
  auto came_back = std::make_shared<std::promise<void>>();
  registry_->OnChange([came_back](const ModelSnapshot& model) {
    if (model.state == ModelState::kUnloaded) came_back->set_value();
  });
  clock_.Advance(milliseconds(29'999));
  // What is left of the fake clock's time is the executor's real wait.
  EXPECT_TRUE(executor_->ChangePolicy("fake", [](ResidencyPolicy&) {}).ok());
  clock_.Advance(milliseconds(1));
  EXPECT_EQ(came_back->get_future().wait_for(seconds(60)), std::future_status::ready);
}

}  // namespace
}  // namespace tightfit
