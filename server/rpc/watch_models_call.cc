#include "server/rpc/watch_models_call.h"

#include "server/rpc/model_messages.h"

#include <algorithm>
#include <exception>

namespace tightfit {
namespace {

constexpr std::chrono::seconds kTooManyRetry{10};
// Changes fall between two readings now and then, never many times in a row.
constexpr int kListTries = 10;

ModelMessage MessageOf(const ModelSnapshot& model, const std::vector<ModelSnapshot>& models) {
  auto message = std::make_shared<v1::WatchModelsResponse>();
  *message->mutable_model() = ToMessage(model, models, /*with_modules=*/false);
  return message;
}

}  // namespace

ModelWatchers::ModelWatchers(const ModelRegistry* registry)
    : registry_(registry), thread_([this] { Run(); }) {}

ModelWatchers::~ModelWatchers() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

Status ModelWatchers::Add(std::shared_ptr<WatchModelsCall> call) {
  {
    const std::lock_guard lock(mutex_);
    if (calls_.size() >= kMaxCalls) {
      return Status(StatusCode::kResourceExhausted, "TOO_MANY_WATCHES",
                    "too many calls watch the models already")
          .WithRetryAfter(kTooManyRetry);
    }
    calls_.insert(call);
    events_.emplace_back(std::move(call));
  }
  wake_.notify_one();
  return OkStatus();
}

void ModelWatchers::Remove(const std::shared_ptr<WatchModelsCall>& call) {
  const std::lock_guard lock(mutex_);
  calls_.erase(call);
}

void ModelWatchers::Tell(const ModelSnapshot& model) {
  {
    const std::lock_guard lock(mutex_);
    ++change_count_;
    if (calls_.empty()) return;  // whoever comes later sees it in the list
    events_.emplace_back(Change{change_count_, model});
  }
  wake_.notify_one();
}

void ModelWatchers::Run() {
  for (;;) {
    Event event;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !events_.empty(); });
      if (stopping_) return;
      event = std::move(events_.front());
      events_.pop_front();
    }
    try {
      std::visit([this](const auto& each) { Handle(each); }, event);
    } catch (const std::exception&) {  // no memory: clients begin again, and miss nothing
      try {
        for (const auto& call : Calls()) call->Fail();
      } catch (const std::exception&) {  // not even for that; the next change tells all
      }
    }
  }
}

void ModelWatchers::Handle(const Change& change) {
  const std::vector<std::shared_ptr<WatchModelsCall>> calls = Calls();
  if (calls.empty()) return;
  const ModelMessage message = MessageOf(change.model, registry_->List());
  for (const auto& call : calls) call->Tell(message, change.number);
}

void ModelWatchers::Handle(const std::shared_ptr<WatchModelsCall>& new_call) {
  int64_t change_number = 0;
  const std::vector<ModelSnapshot> models = ListAsOf(&change_number);
  std::vector<ModelMessage> messages;
  messages.reserve(models.size());
  for (const ModelSnapshot& model : models) messages.push_back(MessageOf(model, models));
  new_call->TellFirst(messages, change_number);
}

std::vector<ModelSnapshot> ModelWatchers::ListAsOf(int64_t* change_number) {
  const auto count = [this] {
    const std::lock_guard lock(mutex_);
    return change_count_;
  };
  for (int tries = 1;; ++tries) {
    *change_number = count();
    std::vector<ModelSnapshot> models = registry_->List();
    if (count() == *change_number || tries == kListTries) return models;
  }
}

std::vector<std::shared_ptr<WatchModelsCall>> ModelWatchers::Calls() {
  const std::lock_guard lock(mutex_);
  return {calls_.begin(), calls_.end()};
}

void WatchModelsCall::TellFirst(const std::vector<ModelMessage>& models, int64_t change_number) {
  {
    const std::lock_guard lock(mutex_);
    if (ended_) return;
    known_changes_ = change_number;
    for (const ModelMessage& model : models) Queue(model);
  }
  Flush();
}

void WatchModelsCall::Tell(const ModelMessage& model, int64_t change_number) {
  {
    const std::lock_guard lock(mutex_);
    if (ended_ || change_number <= known_changes_) return;
    Queue(model);
  }
  Flush();
}

void WatchModelsCall::Queue(const ModelMessage& model) {
  const auto older = std::ranges::find_if(waiting_, [&model](const ModelMessage& each) {
    return each->model().name() == model->model().name();
  });
  if (older != waiting_.end()) {
    *older = model;
  } else {
    waiting_.push_back(model);
  }
}

void WatchModelsCall::Flush() {
  const v1::WatchModelsResponse* next = nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (ended_ || write_in_flight_ || waiting_.empty()) return;
    writing_ = std::move(waiting_.front());
    waiting_.pop_front();
    write_in_flight_ = true;
    next = writing_.get();
  }
  StartWrite(next);
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

void WatchModelsCall::Fail() { End(); }

void WatchModelsCall::End() {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(ended_, true) || write_in_flight_) return;
  }
  Finish(grpc::Status::CANCELLED);
}

void WatchModelsCall::OnDone() {
  record_->Finish(Status(StatusCode::kCancelled, "CANCELLED", "the watch has ended"));
  // The watchers, or whoever is telling it something, hold the last reference.
  const std::shared_ptr<WatchModelsCall> self = shared_from_this();
  if (const auto watchers = watchers_.lock()) watchers->Remove(self);
}

}  // namespace tightfit
