// tightfit.v1.ModelService: the registry and the memory accounts as messages.
#ifndef TIGHTFIT_SERVER_RPC_MODEL_SERVICE_H_
#define TIGHTFIT_SERVER_RPC_MODEL_SERVICE_H_

#include "server/base/status.h"
#include "server/engine/device_executor.h"
#include "server/engine/model_registry.h"
#include "server/rpc/bounded_handler.h"
#include "server/rpc/call_context.h"
#include "server/rpc/unary_call.h"
#include "server/rpc/watch_models_call.h"

#include <tightfit/v1/model.grpc.pb.h>

#include <memory>
#include <string>

namespace tightfit {

// Thread-safe. `context` must outlive the service and its calls.
class ModelServiceImpl final : public v1::ModelService::CallbackService {
 public:
  explicit ModelServiceImpl(const CallContext* context);

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* rpc,
                                       const v1::ListModelsRequest* request,
                                       v1::ListModelsResponse* response) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* rpc,
                                     const v1::GetModelRequest* request,
                                     v1::GetModelResponse* response) override;
  grpc::ServerUnaryReactor* LoadModel(grpc::CallbackServerContext* rpc,
                                      const v1::LoadModelRequest* request,
                                      v1::LoadModelResponse* response) override;
  grpc::ServerUnaryReactor* UnloadModel(grpc::CallbackServerContext* rpc,
                                        const v1::UnloadModelRequest* request,
                                        v1::UnloadModelResponse* response) override;
  grpc::ServerUnaryReactor* UpdateModel(grpc::CallbackServerContext* rpc,
                                        const v1::UpdateModelRequest* request,
                                        v1::UpdateModelResponse* response) override;
  grpc::ServerWriteReactor<v1::WatchModelsResponse>* WatchModels(
      grpc::CallbackServerContext* rpc, const v1::WatchModelsRequest* request) override;

 private:
  template <typename Method>
  void Bound(const char* name, Method method) {
    MarkMethodCallback(MethodIndex(v1::ModelService::service_full_name(), name),
                       MakeBoundedHandler(context_, name, this, method));
  }

  Status List(const v1::ListModelsRequest& request, v1::ListModelsResponse& response) const;
  Status Get(const v1::GetModelRequest& request, v1::GetModelResponse& response) const;

  Status Update(const v1::UpdateModelRequest& request) const;
  // Ends a call about `name`, with the model as it is then if all went well.
  template <typename Response>
  DeviceExecutor::Done AnswerWithModel(EndCall end, std::string name, Response* response) const;

  const CallContext* const context_;
  const std::shared_ptr<ModelWatchers> watchers_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_MODEL_SERVICE_H_
