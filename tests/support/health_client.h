// HealthClient: grpc.health.v1.Health, asked without generated code (no package here carries it).
#ifndef TIGHTFIT_TESTS_SUPPORT_HEALTH_CLIENT_H_
#define TIGHTFIT_TESTS_SUPPORT_HEALTH_CLIENT_H_

#include <grpcpp/channel.h>
#include <grpcpp/generic/generic_stub.h>

#include <memory>
#include <string>

namespace tightfit {

class HealthClient {
 public:
  explicit HealthClient(std::shared_ptr<grpc::Channel> channel) : stub_(std::move(channel)) {}

  // "SERVING", "NOT_SERVING", "UNKNOWN", or the name of the failure: "NOT_FOUND", "UNAVAILABLE".
  std::string Check(const std::string& service);

 private:
  grpc::GenericStub stub_;
};

// The serialised HealthCheckRequest for `service`, at most 127 bytes.
grpc::ByteBuffer HealthCheckRequest(const std::string& service);

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_SUPPORT_HEALTH_CLIENT_H_
