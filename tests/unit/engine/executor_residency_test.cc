// Models come to the device when they are asked for, and go when others need the room.
#include "tests/unit/engine/executor_fixture.h"

#include <map>
#include <random>

namespace tightfit {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int64_t kWeightBytes = 100;
constexpr int64_t kSharedBytes = 60;
constexpr int64_t kLoadScratchBytes = 7;
constexpr int64_t kDecodeScratchBytes = 30;
constexpr int64_t kRequestBytes = 20;  // of one row; guidance is off

class ResidencyRecorder final : public ExecutorObserver {
 public:
  void OnLoaded(const std::string& model, const Status& status, std::chrono::nanoseconds) override {
    Add("loaded " + model + " " + (status.ok() ? "OK" : status.reason()));
  }
  void OnEvicted(const std::string& model, EvictionCause, const std::string& reason) override {
    Add(model + " " + reason);
    if (on_evicted) on_evicted(model);
  }
  void OnOutOfMemory(const std::string& model, Stage stage) override {
    Add("out of memory " + model + " " + std::string(StageName(stage)));
  }
  std::function<void(const std::string& model)> on_evicted;
  std::vector<std::string> events() const {
    const std::lock_guard lock(mutex_);
    return events_;
  }

 private:
  void Add(std::string event) {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
  }
  mutable std::mutex mutex_;
  std::vector<std::string> events_;
};

class ExecutorResidencyTest : public ExecutorFixture {
 protected:
  ExecutorResidencyTest() {
    preload_ = false;
    metrics_ = &recorder_;
  }
  ~ExecutorResidencyTest() override {
    gate_.Open();
    executor_.reset();
    EXPECT_EQ(ledger_->reserved_bytes(), 0) << "something was not given back";
  }

  // Models hold weights of their own, unless their names share what stands before a dash: "x-1" and
  // "x-2" have a group of kSharedBytes in common. Names that begin with "packed" decode weights in
  // a buffer.
  static Result<ModelDescription> Describe(const ModelSpec& spec) {
    ModelDescription description = FakeDescription(spec.name);
    std::vector<WeightGroup> weights = {
        {.component = "unet", .content_key = "unet of " + spec.name, .bytes = kWeightBytes}};
    const size_t dash = spec.name.find('-');
    if (dash != std::string::npos) {
      weights.push_back({.component = "text_encoder",
                         .content_key = "base " + spec.name.substr(0, dash),
                         .bytes = kSharedBytes});
    }
    description.memory = {
        .weights = std::move(weights),
        .load_scratch_bytes = kLoadScratchBytes,
        .decode_scratch_bytes = spec.name.starts_with("packed") ? kDecodeScratchBytes : 0,
        .costs = CostsOfRows(kRequestBytes)};
    return description;
  }

  // Room for so many bytes.
  void StartWithLimit(int64_t limit_bytes, std::vector<std::string> models,
                      ExecutorOptions options = {}) {
    ledger_ = std::make_unique<DeviceLedger>(limit_bytes);
    options.ledger = ledger_.get();
    if (!options.describe) options.describe = Describe;
    StartWith(std::move(options), Loader(), std::move(models));
  }

  ModelLoader Loader() {
    return [this](const ModelSpec& spec,
                  const auto& progress) -> Result<std::unique_ptr<DiffusionModel>> {
      if (const auto failure = failures_.find(spec.name); failure != failures_.end()) {
        return failure->second;
      }
      progress({"unet", 1, 2});
      return MakeFakeModel(spec.name, controls_, Describe(spec)->memory);
    };
  }

  Status Run(const std::string& model) { return Submit(model).observer->WaitForEnd(); }
  ModelState StateOf(const std::string& model) const { return registry_->Find(model)->state; }

  Status Load(const std::string& model) {
    return Wait([&](auto done) { executor_->Load(model, std::move(done)); });
  }
  Status Unload(const std::string& model, bool force = false) {
    return Wait([&](auto done) { executor_->Unload(model, force, std::move(done)); });
  }

  Status Pin(const std::string& model) {
    return executor_->ChangePolicy(model, [](ResidencyPolicy& policy) { policy.pinned = true; });
  }
  Status KeepAlive(const std::string& model, milliseconds duration) {
    return executor_->ChangePolicy(model,
                                   [&](ResidencyPolicy& policy) { policy.keep_alive = duration; });
  }

  std::unique_ptr<DeviceLedger> ledger_ = std::make_unique<DeviceLedger>(0);
  ResidencyRecorder recorder_;
  std::map<std::string, Status> failures_;

 private:
  template <typename Call>
  static Status Wait(const Call& call) {
    auto promise = std::make_shared<std::promise<Status>>();
    call([promise](const Status& status) { promise->set_value(status); });
    return promise->get_future().get();
  }
};

TEST_F(ExecutorResidencyTest, AModelIsDeclaredFirstAndLoadedForItsFirstRequest) {
  StartWithLimit(1000, {"a"});
  EXPECT_EQ(StateOf("a"), ModelState::kUnloaded);
  EXPECT_EQ(registry_->Find("a")->description->memory.weight_bytes(), kWeightBytes);
  EXPECT_EQ(ledger_->reserved_bytes(), 0);
  const Request request = Submit("a");
  ASSERT_TRUE(request.submitted.ok());
  EXPECT_TRUE(request.observer->WaitForEnd().ok());
  EXPECT_THAT(request.observer->events(),
              ElementsAre("queued 0", "started", "model_load 0/2", "model_load 0/2",
                          "text_encode 0/2", "denoise 0/2", "denoise 1/2", "denoise 2/2",
                          "vae_decode 2/2", "image 0", "finished OK"));
  EXPECT_EQ(StateOf("a"), ModelState::kResident);
  EXPECT_EQ(registry_->Find("a")->state_reason, "request");
  ASSERT_TRUE(executor_->Drain(seconds(60)));
  EXPECT_EQ(ledger_->reserved_bytes(), kWeightBytes);
}

TEST_F(ExecutorResidencyTest, ASecondRequestFindsTheModelThere) {
  StartWithLimit(1000, {"a"});
  EXPECT_TRUE(Run("a").ok());
  EXPECT_TRUE(Run("a").ok());
  EXPECT_THAT(recorder_.events(), ElementsAre("loaded a OK"));
}

TEST_F(ExecutorResidencyTest, TheLeastRecentlyUsedModelMakesRoom) {
  StartWithLimit(2 * kWeightBytes + kLoadScratchBytes + kRequestBytes, {"a", "b", "c"});
  for (const char* model : {"a", "b", "a", "c", "b"}) {
    clock_.Advance(seconds(1));
    EXPECT_TRUE(Run(model).ok()) << model;
  }
  EXPECT_THAT(recorder_.events(), ElementsAre("loaded a OK", "loaded b OK", "b evicted for c",
                                              "loaded c OK", "a evicted for b", "loaded b OK"));
  EXPECT_EQ(StateOf("a"), ModelState::kUnloaded);
  EXPECT_EQ(registry_->Find("a")->state_reason, "evicted for b");
}

TEST_F(ExecutorResidencyTest, APinnedModelStaysAndPriorityCountsBeforeUse) {
  StartWithLimit(2 * kWeightBytes + kLoadScratchBytes + kRequestBytes, {"a", "b", "c"});
  ASSERT_TRUE(Pin("a").ok());
  for (const char* model : {"a", "b", "c"}) {
    clock_.Advance(seconds(1));
    EXPECT_TRUE(Run(model).ok()) << model;
  }
  EXPECT_EQ(recorder_.events()[2], "b evicted for c") << "not a, used longer ago";
  ASSERT_TRUE(executor_->ChangePolicy("a", [](auto& policy) { policy.pinned = false; }).ok());
  ASSERT_TRUE(executor_->ChangePolicy("c", [](auto& policy) { policy.priority = -1; }).ok());
  EXPECT_TRUE(Run("b").ok());
  EXPECT_EQ(recorder_.events()[4], "c evicted for b") << "not a, of higher priority";
  EXPECT_EQ(Pin("d").code(), StatusCode::kNotFound);
}

TEST_F(ExecutorResidencyTest, WhatNeverFitsIsRefusedBeforeItIsQueued) {
  StartWithLimit(kWeightBytes + kLoadScratchBytes + kRequestBytes, {"a", "pinned"});
  const Request large = Submit("a", 1, 2);
  EXPECT_EQ(large.submitted.code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(large.submitted.reason(), "EXCEEDS_DEVICE_MEMORY");
  EXPECT_EQ(large.submitted.metadata().at("needed_bytes"), "140");
  EXPECT_EQ(large.submitted.metadata().at("total_bytes"), "127");
  EXPECT_THAT(large.observer->events(), IsEmpty());
  EXPECT_TRUE(Run("a").ok());
  ASSERT_TRUE(Pin("pinned").ok());
  EXPECT_TRUE(Run("pinned").ok());
  EXPECT_EQ(Submit("a").submitted.reason(), "EXCEEDS_DEVICE_MEMORY") << "beside what is pinned";
}

TEST_F(ExecutorResidencyTest, TheSharedDecodeBufferIsCountedOnce) {
  StartWithLimit(kWeightBytes + kLoadScratchBytes + kDecodeScratchBytes + kRequestBytes,
                 {"packed1", "packed2", "plain"});
  for (const char* model : {"packed1", "packed2", "packed1", "plain"}) {
    EXPECT_TRUE(Run(model).ok()) << model;
  }
  ASSERT_TRUE(Unload("plain").ok());
  EXPECT_EQ(ledger_->reserved_bytes(), kDecodeScratchBytes);
  const Request large = Submit("plain", 1, 2);
  EXPECT_EQ(large.submitted.reason(), "EXCEEDS_DEVICE_MEMORY") << "the buffer stays";
}

TEST_F(ExecutorResidencyTest, APinThatComesWhileRoomIsMadeHolds) {
  StartWithLimit(2 * kWeightBytes + kLoadScratchBytes + kRequestBytes, {"a", "b", "c"});
  for (const char* model : {"c", "a", "b"}) {
    ASSERT_TRUE(Run(model).ok());
    clock_.Advance(seconds(1));
  }
  EXPECT_EQ(StateOf("c"), ModelState::kUnloaded);
  recorder_.on_evicted = [this](const std::string& model) {
    if (model != "a") return;
    EXPECT_TRUE(Pin("b").ok());
  };
  // Needs more than a alone would free, so both are to go; then b is pinned.
  const Request large = Submit("c", 1, 5);
  EXPECT_EQ(large.observer->WaitForEnd().reason(), "EXCEEDS_DEVICE_MEMORY");
  EXPECT_EQ(StateOf("a"), ModelState::kUnloaded);
  EXPECT_EQ(StateOf("b"), ModelState::kResident);
  EXPECT_TRUE(Run("b").ok());
}

TEST_F(ExecutorResidencyTest, TheFirstRequestOfAModelIsHeldToTheLimitToo) {
  const auto before_its_first_load = [](const ModelSpec& spec) {
    Result<ModelDescription> description = Describe(spec);
    description->memory.costs.reset();
    return description;
  };
  StartWithLimit(kWeightBytes + kLoadScratchBytes + kRequestBytes, {"a", "b"},
                 {.describe = before_its_first_load});
  const Request large = Submit("a", 1, 2);
  EXPECT_TRUE(large.submitted.ok()) << "what it takes is not known yet";
  EXPECT_EQ(large.observer->WaitForEnd().reason(), "EXCEEDS_DEVICE_MEMORY");
  StopEveryCall();
  const Request first = Submit("b");
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  EXPECT_EQ(ledger_->reserved_bytes(), kWeightBytes + kRequestBytes);
  gate_.Open();
  EXPECT_TRUE(first.observer->WaitForEnd().ok());
}

TEST_F(ExecutorResidencyTest, AFailedModelIsLoadedInTheRoomOfOthers) {
  StartWithLimit(kWeightBytes + kLoadScratchBytes, {"a", "b"});
  failures_["a"] = Status(StatusCode::kDataLoss, "CHECKSUM_MISMATCH", "wrong hash");
  EXPECT_EQ(Load("a").reason(), "CHECKSUM_MISMATCH");
  EXPECT_TRUE(Load("b").ok());
  failures_.clear();
  EXPECT_TRUE(Load("a").ok());
  EXPECT_EQ(StateOf("b"), ModelState::kUnloaded);
  EXPECT_EQ(ledger_->reserved_bytes(), kWeightBytes);
}

TEST_F(ExecutorResidencyTest, AShorterKeepAliveCountsAtOnce) {
  StartWithLimit(1000, {"a"});
  ASSERT_TRUE(KeepAlive("a", std::chrono::hours(1)).ok());
  EXPECT_TRUE(Load("a").ok());
  clock_.Advance(seconds(11));
  ASSERT_TRUE(KeepAlive("a", seconds(10)).ok());
  for (int i = 0; i < 1000 && StateOf("a") != ModelState::kUnloaded; ++i) {
    std::this_thread::sleep_for(milliseconds(10));
  }
  EXPECT_EQ(StateOf("a"), ModelState::kUnloaded);
}

TEST_F(ExecutorResidencyTest, AModelThatARequestWaitsForDoesNotGo) {
  StartWithLimit(1000, {"a", "b"});
  ASSERT_TRUE(KeepAlive("a", seconds(10)).ok());
  EXPECT_TRUE(Load("a").ok());
  StopEveryCall();
  const Request running = Submit("b", 1);
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  const Request waiting = Submit("a", 1);
  clock_.Advance(seconds(60));
  gate_.Open();
  EXPECT_TRUE(running.observer->WaitForEnd().ok());
  EXPECT_TRUE(waiting.observer->WaitForEnd().ok());
  EXPECT_THAT(recorder_.events(), ElementsAre("loaded a OK", "loaded b OK"));
}

TEST_F(ExecutorResidencyTest, PreloadingStopsWhereTheDeviceIsFull) {
  preload_ = true;
  StartWithLimit(kWeightBytes + kLoadScratchBytes, {"a", "b"});
  EXPECT_EQ(StateOf("a"), ModelState::kResident);
  EXPECT_EQ(StateOf("b"), ModelState::kUnloaded) << "and a request brings it";
}

TEST_F(ExecutorResidencyTest, ARequestWaitsUntilABusyModelCanGo) {
  StartWithLimit(kWeightBytes + kLoadScratchBytes + kRequestBytes, {"a", "b"});
  StopEveryCall();
  const Request running = Submit("a");
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  const Request waiting = Submit("b");
  const Request behind = Submit("a");
  gate_.Let();
  ASSERT_TRUE(gate_.WaitForArrivals(2));
  EXPECT_THAT(waiting.observer->events(), ElementsAre("queued 0"));
  EXPECT_THAT(behind.observer->events(), ElementsAre("queued 1")) << "nobody overtakes";
  gate_.Open();
  EXPECT_TRUE(running.observer->WaitForEnd().ok());
  EXPECT_TRUE(waiting.observer->WaitForEnd().ok());
  EXPECT_TRUE(behind.observer->WaitForEnd().ok());
  EXPECT_THAT(recorder_.events(), ElementsAre("loaded a OK", "a evicted for b", "loaded b OK",
                                              "b evicted for a", "loaded a OK"));
}

TEST_F(ExecutorResidencyTest, AnUnusedModelGoesAfterItsKeepAlive) {
  StartWithLimit(1000, {"a", "b"});
  ASSERT_TRUE(KeepAlive("a", seconds(10)).ok());
  EXPECT_TRUE(Run("a").ok());
  EXPECT_TRUE(Run("b").ok());
  clock_.Advance(seconds(9));
  EXPECT_TRUE(Run("b").ok());
  EXPECT_EQ(StateOf("a"), ModelState::kResident);
  clock_.Advance(seconds(2));
  EXPECT_TRUE(Run("b").ok());
  EXPECT_EQ(StateOf("a"), ModelState::kUnloaded);
  EXPECT_EQ(registry_->Find("a")->state_reason, "idle");
  EXPECT_EQ(StateOf("b"), ModelState::kResident) << "without a keep-alive it stays";
}

TEST_F(ExecutorResidencyTest, LoadAndUnloadDoWhatTheySayOnce) {
  StartWithLimit(kWeightBytes + kLoadScratchBytes, {"a", "b"});
  EXPECT_TRUE(Load("a").ok());
  EXPECT_TRUE(Load("a").ok());
  EXPECT_EQ(StateOf("a"), ModelState::kResident);
  EXPECT_EQ(registry_->Find("a")->state_reason, "LoadModel");
  EXPECT_TRUE(Load("b").ok()) << "by driving out a";
  EXPECT_TRUE(Unload("b").ok());
  EXPECT_TRUE(Unload("b").ok());
  EXPECT_EQ(ledger_->reserved_bytes(), 0);
  EXPECT_THAT(recorder_.events(),
              ElementsAre("loaded a OK", "a evicted for b", "loaded b OK", "b UnloadModel"));
  EXPECT_EQ(Load("c").code(), StatusCode::kNotFound);
  EXPECT_EQ(Unload("c").code(), StatusCode::kNotFound);
}

TEST_F(ExecutorResidencyTest, ALoadThatHasNoRoomSaysWhatIsMissing) {
  StartWithLimit(kWeightBytes + kLoadScratchBytes + kRequestBytes, {"a", "b"});
  StopEveryCall();
  const Request running = Submit("a", 1);
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  auto loaded = std::make_shared<std::promise<Status>>();
  executor_->Load("b", [loaded](const Status& status) { loaded->set_value(status); });
  gate_.Let();
  const Status status = loaded->get_future().get();
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(status.reason(), "VRAM_BUSY");
  EXPECT_TRUE(status.retry_after().has_value());
  EXPECT_EQ(status.metadata().at("needed_bytes"), "107");
  EXPECT_EQ(status.metadata().at("free_bytes"), "7");
  EXPECT_EQ(status.metadata().at("evictable_bytes"), "0");
  gate_.Open();
  EXPECT_TRUE(running.observer->WaitForEnd().ok());
}

TEST_F(ExecutorResidencyTest, AModelInUseOrPinnedIsUnloadedByForceOnly) {
  StartWithLimit(1000, {"a", "b"});
  StopEveryCall();
  const Request running = Submit("a", 3);
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  auto refused = std::make_shared<std::promise<Status>>();
  executor_->Unload("a", false, [refused](const Status& s) { refused->set_value(s); });
  gate_.Let();
  EXPECT_EQ(refused->get_future().get().reason(), "MODEL_IN_USE");
  ASSERT_TRUE(gate_.WaitForArrivals(2));
  auto forced = std::make_shared<std::promise<Status>>();
  executor_->Unload("a", true, [forced](const Status& s) { forced->set_value(s); });
  gate_.Open();
  EXPECT_TRUE(forced->get_future().get().ok());
  EXPECT_EQ(running.observer->WaitForEnd().code(), StatusCode::kAborted);
  EXPECT_EQ(running.observer->WaitForEnd().reason(), "PREEMPTED");
  ASSERT_TRUE(Pin("b").ok());
  EXPECT_TRUE(Run("b").ok());
  EXPECT_EQ(Unload("b").reason(), "MODEL_PINNED");
  EXPECT_TRUE(Unload("b", true).ok());
}

TEST_F(ExecutorResidencyTest, AFailedLoadGivesEverythingBackAndMayBeTriedAgain) {
  StartWithLimit(1000, {"a"});
  failures_["a"] = Status(StatusCode::kDataLoss, "CHECKSUM_MISMATCH", "wrong hash");
  EXPECT_EQ(Run("a").reason(), "CHECKSUM_MISMATCH");
  EXPECT_EQ(StateOf("a"), ModelState::kFailed);
  EXPECT_EQ(ledger_->reserved_bytes(), 0);
  EXPECT_EQ(Submit("a").submitted.reason(), "MODEL_FAILED");
  failures_["a"] = Status(StatusCode::kResourceExhausted, "OUT_OF_MEMORY", "full");
  EXPECT_EQ(Load("a").reason(), "OUT_OF_MEMORY");
  EXPECT_EQ(StateOf("a"), ModelState::kUnloaded) << "memory may be there another time";
  failures_.clear();
  EXPECT_TRUE(Load("a").ok());
}

TEST_F(ExecutorResidencyTest, ALoadThatThrowsForWantOfMemoryMayBeTriedAgain) {
  bool throws = true;
  ledger_ = std::make_unique<DeviceLedger>(1000);
  StartWith(
      {.describe = Describe, .ledger = ledger_.get()},
      [&](const ModelSpec& spec, const auto& progress) -> Result<std::unique_ptr<DiffusionModel>> {
        if (throws) throw std::bad_alloc();
        return Loader()(spec, progress);
      },
      {"a"});
  EXPECT_EQ(Load("a").reason(), "OUT_OF_MEMORY");
  EXPECT_EQ(StateOf("a"), ModelState::kUnloaded);
  throws = false;
  EXPECT_TRUE(Load("a").ok());
}

TEST_F(ExecutorResidencyTest, ARequestThatIsCancelledBeforeTheLoadLeavesNothingReserved) {
  StartWithLimit(1000, {"a", "b"}, {.max_running_requests = 2});
  StopEveryCall();
  const Request running = Submit("a", 1);
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  const Request cancelled = Submit("b");
  Cancel(cancelled);
  gate_.Open();
  EXPECT_EQ(cancelled.observer->WaitForEnd().code(), StatusCode::kCancelled);
  EXPECT_TRUE(running.observer->WaitForEnd().ok());
  ASSERT_TRUE(executor_->Drain(seconds(60)));
  EXPECT_EQ(ledger_->reserved_bytes(), kWeightBytes);
}

TEST_F(ExecutorResidencyTest, ACallThatRunsOutOfMemoryIsTriedOnceMoreWithoutCaches) {
  for (const char* failing : {"begin", "step", "decode"}) {
    std::atomic<int> dropped{0};
    StartWithLimit(1000, {"a"}, {.drop_caches = [&] {
                     ++dropped;
                     return OkStatus();
                   }});
    std::atomic<int> failures{1};
    controls_->on_call = [&](const char* call) -> Status {
      if (call == std::string_view(failing) && failures-- > 0) {
        return {StatusCode::kResourceExhausted, "OUT_OF_MEMORY", "full"};
      }
      return OkStatus();
    };
    EXPECT_TRUE(Run("a").ok()) << failing;
    EXPECT_EQ(dropped, 1);
    failures = 2;
    EXPECT_EQ(Run("a").reason(), "OUT_OF_MEMORY") << failing;
    EXPECT_EQ(dropped, 2);
    failures = 0;
    EXPECT_TRUE(Run("a").ok()) << "and the next request is served";
    executor_.reset();
    EXPECT_EQ(ledger_->reserved_bytes(), 0);
  }
}

// Whatever call fails, k = 1, 2, ...: the right code, the ledger as before, the next request
// served.
TEST_F(ExecutorResidencyTest, EveryFailureLeavesTheLedgerAsItWas) {
  StartWithLimit(1000, {"a"});
  EXPECT_TRUE(Run("a").ok());
  for (int failing = 1;; ++failing) {
    std::atomic<int> calls{0};
    controls_->on_call = [&](const char*) -> Status {
      return ++calls == failing ? Internal("broken") : OkStatus();
    };
    const Status status = Run("a");
    if (status.ok()) {
      EXPECT_GT(failing, 4);
      break;
    }
    EXPECT_EQ(status.code(), StatusCode::kInternal);
    controls_->on_call = nullptr;
    EXPECT_TRUE(Run("a").ok());
    EXPECT_EQ(controls_->live_samplings, 0);
  }
  ASSERT_TRUE(executor_->Drain(seconds(60)));
  EXPECT_EQ(ledger_->reserved_bytes(), kWeightBytes);
}

TEST_F(ExecutorResidencyTest, AnEstimateTellsWhomARequestWouldDriveOut) {
  StartWithLimit(kWeightBytes + kLoadScratchBytes + kRequestBytes, {"a", "b"});
  EXPECT_TRUE(Run("a").ok());
  GenerationParameters parameters;
  parameters.model = "b";
  parameters.width_px = parameters.height_px = 8;
  parameters.image_count = 1;
  RequestEstimate estimate = executor_->Estimate(parameters);
  EXPECT_EQ(estimate.plan.admission, Admission::kNow);
  EXPECT_TRUE(estimate.plan.needs_load);
  EXPECT_EQ(estimate.plan.weight_bytes, kWeightBytes);
  EXPECT_EQ(estimate.memory.denoise_bytes, kRequestBytes);
  EXPECT_THAT(estimate.plan.evictions, ElementsAre("a"));
  EXPECT_EQ(StateOf("a"), ModelState::kResident) << "nothing was done";
  parameters.image_count = 2;
  EXPECT_EQ(executor_->Estimate(parameters).plan.admission, Admission::kNever);
}

TEST_F(ExecutorResidencyTest, ModelsOfOneBaseHoldItOnce) {
  StartWithLimit(1000, {"x-1", "x-2", "y-1"});
  for (const char* model : {"x-1", "x-2", "y-1"}) EXPECT_TRUE(Load(model).ok());
  EXPECT_EQ(ledger_->reserved_bytes(), 3 * kWeightBytes + 2 * kSharedBytes);
  EXPECT_TRUE(Unload("x-1").ok());
  EXPECT_EQ(ledger_->reserved_bytes(), 2 * kWeightBytes + 2 * kSharedBytes);
  EXPECT_TRUE(Unload("x-2").ok());
  EXPECT_EQ(ledger_->reserved_bytes(), kWeightBytes + kSharedBytes)
      << "the base went with the last";
}

TEST_F(ExecutorResidencyTest, WhatIsSharedIsNeitherNeededTwiceNorFreedEarly) {
  // The base, two of three models' own weights, and a load.
  StartWithLimit(kSharedBytes + 2 * kWeightBytes + kLoadScratchBytes, {"x-1", "x-2", "x-3"});
  for (const char* model : {"x-1", "x-2", "x-3", "x-1"}) {
    clock_.Advance(seconds(1));
    EXPECT_TRUE(Load(model).ok()) << model;
  }
  EXPECT_THAT(recorder_.events(),
              ElementsAre("loaded x-1 OK", "loaded x-2 OK", "x-1 evicted for x-3", "loaded x-3 OK",
                          "x-2 evicted for x-1", "loaded x-1 OK"));
}

TEST_F(ExecutorResidencyTest, ABaseThatGoesWithItsLastModelIsLoadedAgain) {
  StartWithLimit(kSharedBytes + kWeightBytes + kLoadScratchBytes, {"x-1", "x-2"});
  EXPECT_TRUE(Load("x-1").ok());
  EXPECT_TRUE(Load("x-2").ok());
  EXPECT_EQ(StateOf("x-1"), ModelState::kUnloaded);
  EXPECT_EQ(ledger_->reserved_bytes(), kSharedBytes + kWeightBytes);
}

TEST_F(ExecutorResidencyTest, AStormOfLoadsUnloadsAndRequestsEndsAtZero) {
  constexpr int kThreads = 8;
  constexpr int kRounds = 1000;
  StartWithLimit(2 * kWeightBytes + kSharedBytes + kLoadScratchBytes + 2 * kRequestBytes,
                 {"x-a", "x-b", "x-c"}, {.max_queued_requests = 16});
  std::atomic<int> generated{0};
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      for (int i = 0; i < kRounds; ++i) {
        const std::string model = {'x', '-', static_cast<char>('a' + random() % 3)};
        const unsigned kind = random() % 10;
        if (kind < 2) {
          const Status status = Load(model);
          if (!status.ok() && status.reason() != "VRAM_BUSY") ++wrong;
        } else if (kind < 4) {
          const Status status = Unload(model, random() % 4 == 0);
          if (!status.ok() && status.reason() != "MODEL_IN_USE") ++wrong;
        } else {
          GenerationParameters parameters;
          parameters.model = model;
          parameters.width_px = parameters.height_px = 8;
          parameters.step_count = 1 + static_cast<int32_t>(random() % 2);
          auto observer = std::make_shared<RecordingObserver>();
          auto cancellation = std::make_shared<Cancellation>(std::nullopt);
          const Status submitted = executor_->Submit(parameters, observer, cancellation);
          if (!submitted.ok()) {
            if (submitted.reason() != "QUEUE_FULL") ++wrong;
            continue;
          }
          if (random() % 5 == 0) {
            cancellation->Cancel(StatusCode::kCancelled);
            executor_->Wake();
          }
          const Status end = observer->WaitForEnd();
          if (end.ok()) ++generated;
          if (!end.ok() && end.reason() != "CANCELLED" && end.reason() != "PREEMPTED") ++wrong;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(generated, kThreads * kRounds / 4);
  for (const char* model : {"x-a", "x-b", "x-c"}) EXPECT_TRUE(Unload(model, true).ok());
  EXPECT_EQ(ledger_->reserved_bytes(), 0);
}

}  // namespace
}  // namespace tightfit
