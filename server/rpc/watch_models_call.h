// WatchModels: every change of a model's state or policy, to whoever watches.
#ifndef TIGHTFIT_SERVER_RPC_WATCH_MODELS_CALL_H_
#define TIGHTFIT_SERVER_RPC_WATCH_MODELS_CALL_H_

#include "server/base/status.h"
#include "server/engine/model_registry.h"
#include "server/rpc/call_record.h"

#include <grpcpp/grpcpp.h>
#include <tightfit/v1/model.grpc.pb.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

namespace tightfit {

class WatchModelsCall;

// A message that all who watch send, made once.
using ModelMessage = std::shared_ptr<const v1::WatchModelsResponse>;

// The calls that watch. Thread-safe. Owns a thread that turns changes into messages: whoever makes
// a change, the thread of the device among them, only notes it down.
class ModelWatchers {
 public:
  static constexpr size_t kMaxCalls = 1024;

  // `registry` must outlive it.
  explicit ModelWatchers(const ModelRegistry* registry);
  ~ModelWatchers();
  ModelWatchers(const ModelWatchers&) = delete;
  ModelWatchers& operator=(const ModelWatchers&) = delete;

  // The call is told of all models as they are, then of every change. Errors: RESOURCE_EXHAUSTED
  // `TOO_MANY_WATCHES` where kMaxCalls watch already.
  Status Add(std::shared_ptr<WatchModelsCall> call);
  void Remove(const std::shared_ptr<WatchModelsCall>& call);
  // A change, in the order of changes.
  void Tell(const ModelSnapshot& model);

 private:
  struct Change {
    int64_t number;  // counts changes
    ModelSnapshot model;
  };
  using Event = std::variant<Change, std::shared_ptr<WatchModelsCall>>;

  void Run();
  void Handle(const Change& change);
  void Handle(const std::shared_ptr<WatchModelsCall>& new_call);
  // All models, and the number of the last change that they show.
  std::vector<ModelSnapshot> ListAsOf(int64_t* change_number);
  std::vector<std::shared_ptr<WatchModelsCall>> Calls();

  const ModelRegistry* const registry_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::deque<Event> events_;
  int64_t change_count_ = 0;
  std::set<std::shared_ptr<WatchModelsCall>> calls_;
  std::thread thread_;
};

// One write is in flight; of what waits behind it, a model's newest state replaces the older ones,
// so a slow reader holds no more than one message a model. Ends when the client or the server does.
class WatchModelsCall final : public grpc::ServerWriteReactor<v1::WatchModelsResponse>,
                              public std::enable_shared_from_this<WatchModelsCall> {
 public:
  // `record` is finished with the call.
  WatchModelsCall(std::weak_ptr<ModelWatchers> watchers, std::unique_ptr<CallRecord> record)
      : watchers_(std::move(watchers)), record_(std::move(record)) {}

  // The models as they are once this many changes were made; of these changes it is not told again.
  void TellFirst(const std::vector<ModelMessage>& models, int64_t change_number);
  // What a change made of a model.
  void Tell(const ModelMessage& model, int64_t change_number);
  // Ends the call: something was not told.
  void Fail();
  // Notes why it does not begin. gRPC was not given it.
  void Refuse(const Status& status) { record_->Finish(status); }

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  // REQUIRES: mutex_ held.
  void Queue(const ModelMessage& model);
  // Sends the next message, if there is one.
  void Flush();
  // Finishes the call, after the write that is in flight: gRPC frees the call when it is finished.
  void End();

  const std::weak_ptr<ModelWatchers> watchers_;
  const std::unique_ptr<CallRecord> record_;
  std::mutex mutex_;
  std::deque<ModelMessage> waiting_;
  ModelMessage writing_;
  // Changes up to this one are known; all, until the first message.
  int64_t known_changes_ = std::numeric_limits<int64_t>::max();
  bool write_in_flight_ = false;
  bool ended_ = false;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_WATCH_MODELS_CALL_H_
