// A real gRPC server on a free loopback port whose answers are written in the test.
#ifndef TIGHTFIT_TESTS_UNIT_CLIENT_SCRIPTED_SERVER_H_
#define TIGHTFIT_TESTS_UNIT_CLIENT_SCRIPTED_SERVER_H_

#include "tightfit/v1/image_generation.grpc.pb.h"
#include "tightfit/v1/model.grpc.pb.h"
#include "tightfit/v1/server.grpc.pb.h"

#include <google/rpc/error_details.pb.h>
#include <grpcpp/server.h>
#include <grpcpp/server_context.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace tightfit::testing {

using StreamWriter = grpc::ServerWriter<v1::StreamImagesResponse>;
using ModelWriter = grpc::ServerWriter<v1::WatchModelsResponse>;

class ScriptedServer {
 public:
  // Set before the first call; called on gRPC's threads. Unset ones answer UNIMPLEMENTED.
  struct Script {
    std::function<grpc::Status(grpc::ServerContext&, const v1::StreamImagesRequest&, StreamWriter&)>
        stream_images;
    std::function<grpc::Status(const v1::ListModelsRequest&, v1::ListModelsResponse&)> list_models;
    std::function<grpc::Status(const v1::GetModelRequest&, v1::GetModelResponse&)> get_model;
    std::function<grpc::Status(const v1::EstimateImagesRequest&, v1::EstimateImagesResponse&)>
        estimate_images;
    std::function<grpc::Status(ModelWriter&)> watch_models;
    std::function<grpc::Status(v1::GetServerInfoResponse&)> get_server_info;
    std::function<grpc::Status(v1::GetCapabilitiesResponse&)> get_capabilities;
  };

  explicit ScriptedServer(Script script);
  ~ScriptedServer();  // waits for running calls

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  // Ends every running call and closes the connections.
  void ShutdownNow();
  int call_count() const { return call_count_; }

 private:
  class Images;
  class Models;
  class Info;

  const Script script_;
  std::atomic<int> call_count_{0};
  std::unique_ptr<Images> images_;
  std::unique_ptr<Models> models_;
  std::unique_ptr<Info> info_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

// A failure with google.rpc details, built from the message types alone.
struct ErrorParts {
  grpc::StatusCode code = grpc::StatusCode::INVALID_ARGUMENT;
  std::string message;
  std::string reason;
  std::vector<std::pair<std::string, std::string>> metadata;
  std::vector<std::pair<std::string, std::string>> violations;
  int64_t retry_milliseconds = -1;
  std::string resource_name;
};
grpc::Status MakeError(const ErrorParts& parts);

// Events of a well-behaved stream.
v1::StreamImagesResponse QueuedEvent(int32_t position);
v1::StreamImagesResponse StartedEvent(int64_t seed, int32_t image_count, int32_t step_count = 4);
v1::StreamImagesResponse DenoiseEvent(int32_t step, int32_t step_count, double elapsed_seconds);
v1::StreamImagesResponse ChunkEvent(int32_t image_index, int64_t offset_bytes, std::string content,
                                    int64_t total_bytes, bool last);
v1::StreamImagesResponse CompletedEvent(int64_t seed, int32_t image_count);

// Deterministic bytes that differ from image to image.
std::string ImageContent(int32_t image_index, int64_t size_bytes);

// A whole request: started, steps, every image in chunks of `chunk_bytes`, completed.
grpc::Status StreamWholeRequest(const v1::StreamImagesRequest& request, StreamWriter& writer,
                                int64_t image_bytes = 1000, int64_t chunk_bytes = 300);

// Returns once the caller has gone or cancelled; false after ten seconds.
bool WaitForCancel(const grpc::ServerContext& context);

}  // namespace tightfit::testing

#endif  // TIGHTFIT_TESTS_UNIT_CLIENT_SCRIPTED_SERVER_H_
