// Asks gRPC's reflection without generated code, which no package here carries.
#ifndef TIGHTFIT_TESTS_UNIT_RPC_REFLECTION_CLIENT_H_
#define TIGHTFIT_TESTS_UNIT_RPC_REFLECTION_CLIENT_H_

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <vector>

namespace tightfit {

struct ReflectionAnswer {
  grpc::Status status;
  std::string message;  // the serialised ServerReflectionResponse to list_services
};

inline ReflectionAnswer ListServices(const std::shared_ptr<grpc::Channel>& channel,
                                     const std::string& authorization = {},
                                     const std::string& version = "v1alpha") {
  grpc::GenericStub stub(channel);
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  if (!authorization.empty()) context.AddMetadata("authorization", authorization);
  auto call = stub.PrepareCall(
      &context, "/grpc.reflection." + version + ".ServerReflection/ServerReflectionInfo", &queue);
  const auto wait = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  ReflectionAnswer answer;
  call->StartCall(nullptr);
  wait();
  // ServerReflectionRequest with list_services (field 7) set to "".
  const grpc::Slice list_services(std::string("\x3a\x00", 2));
  call->Write(grpc::ByteBuffer(&list_services, 1), nullptr);
  wait();
  grpc::ByteBuffer reply;
  call->Read(&reply, nullptr);
  if (wait()) {
    std::vector<grpc::Slice> slices;
    (void)reply.Dump(&slices);
    for (const grpc::Slice& slice : slices) {
      answer.message.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
    }
    context.TryCancel();
  }
  call->Finish(&answer.status, nullptr);
  wait();
  queue.Shutdown();
  return answer;
}

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_UNIT_RPC_REFLECTION_CLIENT_H_
