// WatchModels: every change of a model's state or policy, to whoever watches.
#ifndef TIGHTFIT_SERVER_RPC_WATCH_MODELS_CALL_H_
#define TIGHTFIT_SERVER_RPC_WATCH_MODELS_CALL_H_

#include "server/engine/model_registry.h"

#include <grpcpp/grpcpp.h>
#include <tightfit/v1/model.grpc.pb.h>

#include <deque>
#include <memory>
#include <mutex>
#include <set>
#include <string>

namespace tightfit {

class WatchModelsCall;

// The calls that watch. Thread-safe.
class ModelWatchers {
 public:
  void Add(std::shared_ptr<WatchModelsCall> call);
  void Remove(const std::shared_ptr<WatchModelsCall>& call);
  void Tell(const ModelSnapshot& model);

 private:
  std::mutex mutex_;
  std::set<std::shared_ptr<WatchModelsCall>> calls_;
};

// One write is in flight; of what waits behind it, a model's newest state replaces the older ones,
// so a slow reader holds no more than one message a model. Ends when the client or the server does.
class WatchModelsCall final : public grpc::ServerWriteReactor<v1::WatchModelsResponse>,
                              public std::enable_shared_from_this<WatchModelsCall> {
 public:
  static grpc::ServerWriteReactor<v1::WatchModelsResponse>* Start(
      const ModelRegistry* registry, std::shared_ptr<ModelWatchers> watchers);

  explicit WatchModelsCall(std::shared_ptr<ModelWatchers> watchers)
      : watchers_(std::move(watchers)) {}

  void Tell(const ModelSnapshot& model);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  // Sends the next message, or ends the call.
  void Flush();
  void End();

  const std::shared_ptr<ModelWatchers> watchers_;
  std::mutex mutex_;
  std::deque<v1::Model> waiting_;
  v1::WatchModelsResponse writing_;
  bool write_in_flight_ = false;
  bool ended_ = false;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_WATCH_MODELS_CALL_H_
