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
  // `registry` must outlive it.
  explicit ModelWatchers(const ModelRegistry* registry) : registry_(registry) {}

  const ModelRegistry& registry() const { return *registry_; }
  void Add(std::shared_ptr<WatchModelsCall> call);
  void Remove(const std::shared_ptr<WatchModelsCall>& call);
  void Tell(const ModelSnapshot& model);

 private:
  const ModelRegistry* const registry_;
  std::mutex mutex_;
  std::set<std::shared_ptr<WatchModelsCall>> calls_;
};

// One write is in flight; of what waits behind it, a model's newest state replaces the older ones,
// so a slow reader holds no more than one message a model. Ends when the client or the server does.
class WatchModelsCall final : public grpc::ServerWriteReactor<v1::WatchModelsResponse>,
                              public std::enable_shared_from_this<WatchModelsCall> {
 public:
  static grpc::ServerWriteReactor<v1::WatchModelsResponse>* Start(
      std::shared_ptr<ModelWatchers> watchers);

  explicit WatchModelsCall(std::shared_ptr<ModelWatchers> watchers)
      : watchers_(std::move(watchers)) {}

  // A model that changed.
  void Tell(const ModelSnapshot& model);
  // A model as it was when the call began; dropped where a change was told meanwhile.
  void TellFirst(const ModelSnapshot& model);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  void Queue(const ModelSnapshot& model, bool is_change);
  // Sends the next message, if there is one.
  void Flush();
  // Finishes the call, after the write that is in flight: gRPC frees the call when it is finished.
  void End();

  const std::shared_ptr<ModelWatchers> watchers_;
  std::mutex mutex_;
  std::deque<v1::Model> waiting_;
  std::set<std::string> changed_;  // models of which a change was told
  v1::WatchModelsResponse writing_;
  bool write_in_flight_ = false;
  bool ended_ = false;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_WATCH_MODELS_CALL_H_
