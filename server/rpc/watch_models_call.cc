#include "server/rpc/watch_models_call.h"

#include "server/rpc/model_messages.h"

#include <algorithm>
#include <utility>

namespace tightfit {

void ModelWatchers::Add(std::shared_ptr<WatchModelsCall> call) {
  const std::lock_guard lock(mutex_);
  calls_.insert(std::move(call));
}

void ModelWatchers::Remove(const std::shared_ptr<WatchModelsCall>& call) {
  const std::lock_guard lock(mutex_);
  calls_.erase(call);
}

void ModelWatchers::Tell(const ModelSnapshot& model) {
  std::set<std::shared_ptr<WatchModelsCall>> calls;
  {
    const std::lock_guard lock(mutex_);
    calls = calls_;
  }
  for (const auto& call : calls) call->Tell(model);
}

grpc::ServerWriteReactor<v1::WatchModelsResponse>* WatchModelsCall::Start(
    std::shared_ptr<ModelWatchers> watchers) {
  auto call = std::make_shared<WatchModelsCall>(watchers);
  // Before the list is read: no change falls between both.
  watchers->Add(call);
  for (const ModelSnapshot& model : watchers->registry().List()) call->TellFirst(model);
  // The watchers hold it until OnDone.
  return call.get();
}

void WatchModelsCall::Tell(const ModelSnapshot& model) { Queue(model, /*is_change=*/true); }

void WatchModelsCall::TellFirst(const ModelSnapshot& model) { Queue(model, /*is_change=*/false); }

void WatchModelsCall::Queue(const ModelSnapshot& model, bool is_change) {
  v1::Model message = ToMessage(model, watchers_->registry().List(), /*with_modules=*/false);
  {
    const std::lock_guard lock(mutex_);
    if (ended_) return;
    if (is_change) {
      changed_.insert(message.name());
    } else if (changed_.contains(message.name())) {
      return;
    }
    const auto older = std::ranges::find(waiting_, message.name(), &v1::Model::name);
    if (older != waiting_.end()) {
      *older = std::move(message);
    } else {
      waiting_.push_back(std::move(message));
    }
  }
  Flush();
}

void WatchModelsCall::Flush() {
  {
    const std::lock_guard lock(mutex_);
    if (ended_ || write_in_flight_ || waiting_.empty()) return;
    *writing_.mutable_model() = std::move(waiting_.front());
    waiting_.pop_front();
    write_in_flight_ = true;
  }
  StartWrite(&writing_);
}

void WatchModelsCall::OnWriteDone(bool ok) {
  bool end = false;
  {
    const std::lock_guard lock(mutex_);
    write_in_flight_ = false;
    if (!ok) ended_ = true;
    end = ended_;
  }
  if (end) {
    Finish(grpc::Status::CANCELLED);
  } else {
    Flush();
  }
}

void WatchModelsCall::OnCancel() { End(); }

void WatchModelsCall::End() {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(ended_, true) || write_in_flight_) return;
  }
  Finish(grpc::Status::CANCELLED);
}

void WatchModelsCall::OnDone() { watchers_->Remove(shared_from_this()); }

}  // namespace tightfit
