// GenerateImagesCall: the reactor of GenerateImages. Collects all images into one reply.
#ifndef TIGHTFIT_SERVER_RPC_GENERATE_IMAGES_CALL_H_
#define TIGHTFIT_SERVER_RPC_GENERATE_IMAGES_CALL_H_

#include "server/rpc/generation_call.h"

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>
#include <tightfit/v1/image_generation.pb.h>

#include <memory>
#include <optional>

namespace tightfit {

// Owns itself from Start until gRPC's OnDone; the executor and encoding threads may hold it longer.
class GenerateImagesCall final : public GenerationCall, public grpc::ServerUnaryReactor {
 public:
  // `call_context` outlives the call; the others live until OnDone, as gRPC promises.
  static grpc::ServerUnaryReactor* Start(const CallContext* call_context,
                                         grpc::CallbackServerContext* rpc,
                                         const v1::GenerateImagesRequest* request,
                                         v1::GenerateImagesResponse* response);

  GenerateImagesCall(const CallContext* call_context, grpc::CallbackServerContext* rpc,
                     const v1::GenerateImagesRequest& request,
                     v1::GenerateImagesResponse* response);

  void OnCancel() override;
  void OnDone() override;

 private:
  void ReportQueued(int32_t) override {}
  void ReportStarted() override {}
  void ReportProgress(const GenerationProgress&) override {}
  void ReportImage(EncodedImage image) override;
  void ReportEnd(const Status& status) override;
  void DropUnsent() override;
  void Flush() override;

  v1::GenerateImagesResponse* const response_;  // guarded by mutex_ until Finish
  std::shared_ptr<GenerateImagesCall> self_;

  // Guarded by mutex_.
  std::optional<Status> end_;
  bool finish_called_ = false;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_GENERATE_IMAGES_CALL_H_
