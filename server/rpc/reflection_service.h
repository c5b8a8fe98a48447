// grpc.reflection.v1: what the server serves, for tools. gRPC 1.51 itself has v1alpha alone.
#ifndef TIGHTFIT_SERVER_RPC_REFLECTION_SERVICE_H_
#define TIGHTFIT_SERVER_RPC_REFLECTION_SERVICE_H_

#include <grpc/reflection/v1/reflection.grpc.pb.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace tightfit {

// Thread-safe. Reads messages as bytes, to count their fields before they become objects.
class ReflectionService final
    : public grpc::reflection::v1::ServerReflection::WithRawCallbackMethod_ServerReflectionInfo<
          grpc::reflection::v1::ServerReflection::Service> {
 public:
  // `services`: the full names to list. Their files are those that this program was built with.
  ReflectionService(std::vector<std::string> services, int64_t max_fields)
      : services_(std::move(services)), max_fields_(max_fields) {}

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* ServerReflectionInfo(
      grpc::CallbackServerContext* rpc) override;

 private:
  const std::vector<std::string> services_;
  const int64_t max_fields_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_REFLECTION_SERVICE_H_
