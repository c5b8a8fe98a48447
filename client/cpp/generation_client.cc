#include "client/cpp/generation_client.h"

#include "client/cpp/call_runner.h"
#include "client/cpp/channel.h"
#include "client/cpp/error_details.h"
#include "client/cpp/image_assembler.h"
#include "client/cpp/message_conversion.h"
#include "tightfit/v1/image_generation.grpc.pb.h"
#include "tightfit/v1/model.grpc.pb.h"
#include "tightfit/v1/server.grpc.pb.h"

#include <chrono>
#include <string>
#include <utility>

namespace tightfit::client {
namespace {

// More pages than any server has; stops a server whose page tokens never end.
constexpr int kMaxPageCount = 1000;

Status Broken(std::string message) {
  return {StatusCode::kDataLoss, std::string(kBrokenStream), std::move(message)};
}

// Turns the messages of one stream into events, and refuses what the contract excludes.
class EventDecoder {
 public:
  explicit EventDecoder(const std::function<void(Event)>& on_event) : on_event_(on_event) {}

  Status Add(v1::StreamImagesResponse&& message) {
    if (completed_) return Broken("an event came after the last one");
    switch (message.event_case()) {
      case v1::StreamImagesResponse::kQueued:
        on_event_(Queued{message.queued().position()});
        return OkStatus();
      case v1::StreamImagesResponse::kStarted: {
        if (assembler_.has_value()) return Broken("the request started twice");
        Started started = FromMessage(message.started());
        assembler_.emplace(started.parameters.seed, started.parameters.image_count);
        on_event_(std::move(started));
        return OkStatus();
      }
      case v1::StreamImagesResponse::kProgress:
        on_event_(FromMessage(message.progress()));
        return OkStatus();
      case v1::StreamImagesResponse::kImageChunk: {
        if (!assembler_.has_value()) return Broken("an image came before the request started");
        TF_ASSIGN_OR_RETURN(
            std::optional<Image> image,
            assembler_->Add(FromMessage(std::move(*message.mutable_image_chunk()))));
        if (image.has_value()) on_event_(std::move(*image));
        return OkStatus();
      }
      case v1::StreamImagesResponse::kCompleted:
        if (!assembler_.has_value()) return Broken("the request ended before it started");
        TF_RETURN_IF_ERROR(assembler_->CheckComplete());
        completed_ = true;
        on_event_(FromMessage(message.completed()));
        return OkStatus();
      case v1::StreamImagesResponse::EVENT_NOT_SET:
        break;  // an event of a newer server
    }
    return OkStatus();
  }

  Status CheckEnd() const {
    return completed_ ? OkStatus() : Broken("the stream ended before the request was completed");
  }

 private:
  const std::function<void(Event)>& on_event_;
  std::optional<ImageAssembler> assembler_;
  bool completed_ = false;
};

}  // namespace

struct GenerationClient::Connection {
  explicit Connection(ClientOptions options)
      : channel(CreateChannel(options)),
        runner(std::move(options), channel),
        images(channel),
        models(channel),
        server(channel) {}

  // One unary call of `stub`, with retries.
  template <typename Stub, typename Request, typename Response>
  Result<Response> Unary(Stub& stub,
                         grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                      Response*),
                         const Request& request, const CallOptions& call) {
    Response response;
    TF_RETURN_IF_ERROR(runner.Run(call, [&](grpc::ClientContext& context) {
      response.Clear();
      return CallRunner::Outcome{FromGrpc((stub.*method)(&context, request, &response))};
    }));
    return response;
  }

  std::shared_ptr<grpc::Channel> channel;
  CallRunner runner;
  v1::ImageGenerationService::Stub images;
  v1::ModelService::Stub models;
  v1::ServerService::Stub server;
};

GenerationClient::GenerationClient(ClientOptions options)
    : connection_(std::make_unique<Connection>(std::move(options))) {}

GenerationClient::~GenerationClient() = default;

Status GenerationClient::Connect(std::chrono::milliseconds timeout, std::stop_token cancel,
                                 const ConnectOptions& options) {
  return connection_->runner.Connect(timeout, cancel, options);
}

Status GenerationClient::StreamImages(const ImageRequest& request,
                                      const std::function<void(Event)>& on_event,
                                      const CallOptions& call) {
  TF_ASSIGN_OR_RETURN(const v1::StreamImagesRequest message, ToMessage(request));
  return connection_->runner.Run(call, [&](grpc::ClientContext& context) {
    CallRunner::Outcome outcome;
    EventDecoder decoder(on_event);
    auto reader = connection_->images.StreamImages(&context, message);
    v1::StreamImagesResponse response;
    while (reader->Read(&response)) {
      outcome.retry_forbidden = true;
      outcome.status = decoder.Add(std::move(response));
      if (!outcome.status.ok()) {
        context.TryCancel();
        break;
      }
    }
    const Status ended = FromGrpc(reader->Finish());
    if (outcome.status.ok()) outcome.status = ended.ok() ? decoder.CheckEnd() : ended;
    return outcome;
  });
}

Result<std::vector<Model>> GenerationClient::ListModels(const CallOptions& call) {
  std::vector<Model> models;
  v1::ListModelsRequest request;
  for (int page = 0; page < kMaxPageCount; ++page) {
    TF_ASSIGN_OR_RETURN(const v1::ListModelsResponse response,
                        connection_->Unary(connection_->models, &v1::ModelService::Stub::ListModels,
                                           request, call));
    for (const v1::Model& model : response.models()) models.push_back(FromMessage(model));
    if (response.next_page_token().empty()) return models;
    request.set_page_token(response.next_page_token());
  }
  return Broken("the list of models does not end");
}

Result<Model> GenerationClient::GetModel(const std::string& name, const CallOptions& call) {
  v1::GetModelRequest request;
  request.set_name(name);
  TF_ASSIGN_OR_RETURN(
      const v1::GetModelResponse response,
      connection_->Unary(connection_->models, &v1::ModelService::Stub::GetModel, request, call));
  return FromMessage(response.model());
}

Status GenerationClient::WatchModels(const std::function<void(Model)>& on_model,
                                     const CallOptions& call) {
  return connection_->runner.Run(call, [&](grpc::ClientContext& context) {
    CallRunner::Outcome outcome;
    auto reader = connection_->models.WatchModels(&context, v1::WatchModelsRequest());
    v1::WatchModelsResponse response;
    while (reader->Read(&response)) {
      outcome.counts_anew = true;
      on_model(FromMessage(response.model()));
    }
    outcome.status = FromGrpc(reader->Finish());
    return outcome;
  });
}

Result<Model> GenerationClient::LoadModel(const std::string& name, const CallOptions& call) {
  v1::LoadModelRequest request;
  request.set_name(name);
  TF_ASSIGN_OR_RETURN(
      const v1::LoadModelResponse response,
      connection_->Unary(connection_->models, &v1::ModelService::Stub::LoadModel, request, call));
  return FromMessage(response.model());
}

Result<Model> GenerationClient::UnloadModel(const std::string& name, bool force,
                                            const CallOptions& call) {
  v1::UnloadModelRequest request;
  request.set_name(name);
  request.set_force(force);
  TF_ASSIGN_OR_RETURN(
      const v1::UnloadModelResponse response,
      connection_->Unary(connection_->models, &v1::ModelService::Stub::UnloadModel, request, call));
  return FromMessage(response.model());
}

Result<Model> GenerationClient::UpdateModel(const std::string& name, const ModelUpdate& update,
                                            const CallOptions& call) {
  v1::UpdateModelRequest request;
  request.set_name(name);
  if (update.pinned) request.set_pinned(*update.pinned);
  if (update.priority) request.set_priority(*update.priority);
  if (update.keep_alive) {
    const auto seconds = std::chrono::floor<std::chrono::seconds>(*update.keep_alive);
    request.mutable_keep_alive_duration()->set_seconds(seconds.count());
    request.mutable_keep_alive_duration()->set_nanos(
        static_cast<int32_t>((*update.keep_alive - seconds).count()));
  }
  TF_ASSIGN_OR_RETURN(
      const v1::UpdateModelResponse response,
      connection_->Unary(connection_->models, &v1::ModelService::Stub::UpdateModel, request, call));
  return FromMessage(response.model());
}

Result<Estimate> GenerationClient::EstimateImages(const ImageRequest& request,
                                                  const CallOptions& call) {
  TF_ASSIGN_OR_RETURN(v1::StreamImagesRequest message, ToMessage(request));
  v1::EstimateImagesRequest estimate;
  *estimate.mutable_parameters() = std::move(*message.mutable_parameters());
  TF_ASSIGN_OR_RETURN(
      const v1::EstimateImagesResponse response,
      connection_->Unary(connection_->images, &v1::ImageGenerationService::Stub::EstimateImages,
                         estimate, call));
  return FromMessage(response);
}

Result<ServerInfo> GenerationClient::GetServerInfo(const CallOptions& call) {
  TF_ASSIGN_OR_RETURN(
      const v1::GetServerInfoResponse response,
      connection_->Unary(connection_->server, &v1::ServerService::Stub::GetServerInfo,
                         v1::GetServerInfoRequest(), call));
  return FromMessage(response);
}

Result<Capabilities> GenerationClient::GetCapabilities(const CallOptions& call) {
  TF_ASSIGN_OR_RETURN(
      const v1::GetCapabilitiesResponse response,
      connection_->Unary(connection_->server, &v1::ServerService::Stub::GetCapabilities,
                         v1::GetCapabilitiesRequest(), call));
  return FromMessage(response);
}

}  // namespace tightfit::client
