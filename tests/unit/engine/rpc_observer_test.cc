#include "server/engine/rpc_observer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tightfit {
namespace {

using ::testing::ElementsAre;

// Writes `name` and the event into `heard`.
class NotingObserver final : public RpcObserver {
 public:
  NotingObserver(std::string name, std::vector<std::string>* heard)
      : name_(std::move(name)), heard_(heard) {}

  void OnRequestStarted(const std::string&, const std::string&) override { Note("started"); }
  void OnRequestFinished(const std::string&, const std::string&, StatusCode,
                         std::chrono::nanoseconds) override {
    Note("finished");
  }
  void OnRequestRecord(const RequestRecord&) override { Note("record"); }
  void OnImage(const std::string&, const std::string&, int64_t) override { Note("image"); }
  void OnStage(const std::string&, Stage, std::chrono::nanoseconds) override { Note("stage"); }
  void OnConnections(const ConnectionCounts&) override { Note("connections"); }

 private:
  void Note(const std::string& event) { heard_->push_back(name_ + " " + event); }

  const std::string name_;
  std::vector<std::string>* const heard_;
};

TEST(RpcObserversTest, TellEachOfEveryEventInOrder) {
  std::vector<std::string> heard;
  NotingObserver a("a", &heard);
  NotingObserver b("b", &heard);
  RpcObservers both({&a, &b});
  both.OnRequestStarted("StreamImages", "sdxl");
  both.OnStage("sdxl", Stage::kImageEncode, {});
  both.OnImage("sdxl", "image/png", 1);
  both.OnRequestFinished("StreamImages", "sdxl", StatusCode::kOk, {});
  both.OnRequestRecord({});
  both.OnConnections({});
  EXPECT_THAT(heard, ElementsAre("a started", "b started", "a stage", "b stage", "a image",
                                 "b image", "a finished", "b finished", "a record", "b record",
                                 "a connections", "b connections"));
}

}  // namespace
}  // namespace tightfit
