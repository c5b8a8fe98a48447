#include "server/rpc/model_service.h"

#include "server/base/keep_alive.h"
#include "server/rpc/call_access.h"
#include "server/rpc/call_record.h"
#include "server/rpc/model_label.h"
#include "server/rpc/model_messages.h"
#include "server/rpc/status_mapping.h"
#include "server/rpc/unary_call.h"
#include "server/rpc/unknown_fields.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

constexpr int32_t kMaxPageSize = 1000;

// A token is the index of the first model of its page.
std::optional<size_t> ParsePageToken(const std::string& token, size_t model_count) {
  if (token.empty()) return 0;
  size_t index = 0;
  const char* const end = token.data() + token.size();
  const auto [parsed, error] = std::from_chars(token.data(), end, index);
  if (error != std::errc() || parsed != end) return std::nullopt;
  if (index == 0 || index >= model_count || std::to_string(index) != token) return std::nullopt;
  return index;
}

template <typename Request>
Status CheckNamed(const Request& request) {
  std::vector<FieldViolation> violations = UnknownFields(request);
  if (request.name().empty()) violations.push_back({"name", "is required"});
  return RefuseIfAny(std::move(violations));
}

}  // namespace

Status ModelServiceImpl::List(const v1::ListModelsRequest& request,
                              v1::ListModelsResponse& response) const {
  const std::vector<ModelSnapshot> models = context_->registry->List();
  std::vector<FieldViolation> violations = UnknownFields(request);
  if (request.page_size() < 0 || request.page_size() > kMaxPageSize) {
    violations.push_back({"page_size", "must be from 0 to " + std::to_string(kMaxPageSize)});
  }
  const std::optional<size_t> first = ParsePageToken(request.page_token(), models.size());
  if (!first.has_value()) {
    violations.push_back({"page_token", "must be the next_page_token of the page before"});
  }
  TF_RETURN_IF_ERROR(RefuseIfAny(std::move(violations)));

  const size_t page_size = request.page_size() == 0 ? kMaxPageSize : request.page_size();
  const size_t end = std::min(models.size(), *first + page_size);
  for (size_t i = *first; i < end; ++i) {
    *response.add_models() = ToMessage(models[i], models, /*with_modules=*/false);
  }
  if (end < models.size()) response.set_next_page_token(std::to_string(end));
  return OkStatus();
}

Status ModelServiceImpl::Get(const v1::GetModelRequest& request,
                             v1::GetModelResponse& response) const {
  TF_RETURN_IF_ERROR(CheckNamed(request));
  const std::optional<ModelSnapshot> snapshot = context_->registry->Find(request.name());
  if (!snapshot.has_value()) return ModelNotFound(request.name());
  *response.mutable_model() =
      ToMessage(*snapshot, context_->registry->List(), /*with_modules=*/true);
  return OkStatus();
}

grpc::ServerUnaryReactor* ModelServiceImpl::ListModels(grpc::CallbackServerContext* rpc,
                                                       const v1::ListModelsRequest* request,
                                                       v1::ListModelsResponse* response) {
  return UnaryCall(*context_, rpc, *request, "",
                   [&](const EndCall& end) { end(List(*request, *response)); });
}

grpc::ServerUnaryReactor* ModelServiceImpl::GetModel(grpc::CallbackServerContext* rpc,
                                                     const v1::GetModelRequest* request,
                                                     v1::GetModelResponse* response) {
  return UnaryCall(*context_, rpc, *request, ModelLabel(request->name(), *context_->registry),
                   [&](const EndCall& end) { end(Get(*request, *response)); });
}

ModelServiceImpl::ModelServiceImpl(const CallContext* context)
    : context_(context), watchers_(std::make_shared<ModelWatchers>(context->registry)) {
  Bound("ListModels", &ModelServiceImpl::ListModels);
  Bound("GetModel", &ModelServiceImpl::GetModel);
  Bound("WatchModels", &ModelServiceImpl::WatchModels);
  Bound("LoadModel", &ModelServiceImpl::LoadModel);
  Bound("UnloadModel", &ModelServiceImpl::UnloadModel);
  Bound("UpdateModel", &ModelServiceImpl::UpdateModel);
  context_->registry->OnChange(
      [watchers = std::weak_ptr<ModelWatchers>(watchers_)](const ModelSnapshot& model) {
        if (const auto alive = watchers.lock()) alive->Tell(model);
      });
}

template <typename Response>
DeviceExecutor::Done ModelServiceImpl::AnswerWithModel(EndCall end, std::string name,
                                                       Response* response) const {
  return [this, end = std::move(end), name = std::move(name), response](const Status& status) {
    const std::optional<ModelSnapshot> snapshot = context_->registry->Find(name);
    if (status.ok() && snapshot.has_value()) {
      *response->mutable_model() =
          ToMessage(*snapshot, context_->registry->List(), /*with_modules=*/false);
    }
    end(status);
  };
}

grpc::ServerUnaryReactor* ModelServiceImpl::LoadModel(grpc::CallbackServerContext* rpc,
                                                      const v1::LoadModelRequest* request,
                                                      v1::LoadModelResponse* response) {
  return UnaryCall(
      *context_, rpc, *request, ModelLabel(request->name(), *context_->registry), [&](EndCall end) {
        if (const Status status = CheckNamed(*request); !status.ok()) return end(status);
        context_->executor->Load(request->name(),
                                 AnswerWithModel(std::move(end), request->name(), response));
      });
}

grpc::ServerUnaryReactor* ModelServiceImpl::UnloadModel(grpc::CallbackServerContext* rpc,
                                                        const v1::UnloadModelRequest* request,
                                                        v1::UnloadModelResponse* response) {
  return UnaryCall(
      *context_, rpc, *request, ModelLabel(request->name(), *context_->registry), [&](EndCall end) {
        if (const Status status = CheckNamed(*request); !status.ok()) return end(status);
        context_->executor->Unload(request->name(), request->force(),
                                   AnswerWithModel(std::move(end), request->name(), response));
      });
}

Status ModelServiceImpl::Update(const v1::UpdateModelRequest& request) const {
  std::vector<FieldViolation> violations = UnknownFields(request);
  if (request.name().empty()) violations.push_back({"name", "is required"});
  const google::protobuf::Duration& keep_alive = request.keep_alive_duration();
  const int32_t max_nanos = keep_alive.seconds() == kMaxKeepAliveSeconds ? 0 : 999'999'999;
  if (keep_alive.seconds() < 0 || keep_alive.seconds() > kMaxKeepAliveSeconds ||
      keep_alive.nanos() < 0 || keep_alive.nanos() > max_nanos) {
    violations.push_back({"keep_alive_duration", "must be from 0 to 366 days"});
  }
  if (request.priority() < -kMaxPriority || request.priority() > kMaxPriority) {
    violations.push_back({"priority", "must be from " + std::to_string(-kMaxPriority) + " to " +
                                          std::to_string(kMaxPriority)});
  }
  TF_RETURN_IF_ERROR(RefuseIfAny(std::move(violations)));
  return context_->executor->ChangePolicy(request.name(), [&](ResidencyPolicy& policy) {
    if (request.has_pinned()) policy.pinned = request.pinned();
    if (request.has_priority()) policy.priority = request.priority();
    if (request.has_keep_alive_duration()) {
      policy.keep_alive = std::chrono::ceil<std::chrono::milliseconds>(
          std::chrono::seconds(keep_alive.seconds()) +
          std::chrono::nanoseconds(keep_alive.nanos()));
    }
  });
}

grpc::ServerUnaryReactor* ModelServiceImpl::UpdateModel(grpc::CallbackServerContext* rpc,
                                                        const v1::UpdateModelRequest* request,
                                                        v1::UpdateModelResponse* response) {
  return UnaryCall(*context_, rpc, *request, ModelLabel(request->name(), *context_->registry),
                   [&](EndCall end) {
                     AnswerWithModel(std::move(end), request->name(), response)(Update(*request));
                   });
}

grpc::ServerWriteReactor<v1::WatchModelsResponse>* ModelServiceImpl::WatchModels(
    grpc::CallbackServerContext* rpc, const v1::WatchModelsRequest* request) {
  const RpcMethod method = MethodOf(*request->GetDescriptor());
  auto record = std::make_unique<CallRecord>(context_->observer, context_->clock, method.name, "");
  Status status = record->Admit(CheckAccess(context_->access, *rpc, method.path));
  if (status.ok()) status = RefuseIfAny(UnknownFields(*request));
  if (!status.ok()) {
    record->Finish(status);
    return new RefusedStream<v1::WatchModelsResponse>(ToGrpcStatus(status));
  }
  auto call = std::make_shared<WatchModelsCall>(watchers_, std::move(record));
  // The watchers hold it until OnDone.
  WatchModelsCall* const reactor = call.get();
  status = watchers_->Add(call);
  if (status.ok()) return reactor;
  call->Refuse(status);
  return new RefusedStream<v1::WatchModelsResponse>(ToGrpcStatus(status));
}

}  // namespace tightfit
