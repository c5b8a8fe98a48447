// tightfit.v1.ModelService: the registry and the memory accounts as messages.
#ifndef TIGHTFIT_SERVER_RPC_MODEL_SERVICE_H_
#define TIGHTFIT_SERVER_RPC_MODEL_SERVICE_H_

#include "server/base/status.h"
#include "server/engine/model_registry.h"
#include "server/rpc/generation_call.h"

#include <tightfit/v1/model.grpc.pb.h>

namespace tightfit {

// Thread-safe. `context` must outlive the service and its calls.
class ModelServiceImpl final : public v1::ModelService::CallbackService {
 public:
  explicit ModelServiceImpl(const CallContext* context) : context_(context) {}

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* rpc,
                                       const v1::ListModelsRequest* request,
                                       v1::ListModelsResponse* response) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* rpc,
                                     const v1::GetModelRequest* request,
                                     v1::GetModelResponse* response) override;

 private:
  Status List(const v1::ListModelsRequest& request, v1::ListModelsResponse& response) const;
  Status Get(const v1::GetModelRequest& request, v1::GetModelResponse& response) const;

  const CallContext* const context_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_MODEL_SERVICE_H_
