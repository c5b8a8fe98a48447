#include "tests/unit/client/scripted_server.h"

#include <google/rpc/status.pb.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>

namespace tightfit::testing {
namespace {

grpc::Status NotScripted() {
  return {grpc::StatusCode::UNIMPLEMENTED, "the test scripted no answer"};
}

void SetSeconds(double seconds, google::protobuf::Duration* duration) {
  duration->set_seconds(static_cast<int64_t>(seconds));
  duration->set_nanos(
      static_cast<int32_t>((seconds - static_cast<double>(duration->seconds())) * 1e9));
}

}  // namespace

class ScriptedServer::Images final : public v1::ImageGenerationService::Service {
 public:
  explicit Images(ScriptedServer& server) : server_(server) {}
  grpc::Status StreamImages(grpc::ServerContext* context, const v1::StreamImagesRequest* request,
                            StreamWriter* writer) override {
    ++server_.call_count_;
    const auto& answer = server_.script_.stream_images;
    return answer ? answer(*context, *request, *writer) : NotScripted();
  }

  grpc::Status EstimateImages(grpc::ServerContext*, const v1::EstimateImagesRequest* request,
                              v1::EstimateImagesResponse* response) override {
    ++server_.call_count_;
    const auto& answer = server_.script_.estimate_images;
    return answer ? answer(*request, *response) : NotScripted();
  }

 private:
  ScriptedServer& server_;
};

class ScriptedServer::Models final : public v1::ModelService::Service {
 public:
  explicit Models(ScriptedServer& server) : server_(server) {}
  grpc::Status ListModels(grpc::ServerContext*, const v1::ListModelsRequest* request,
                          v1::ListModelsResponse* response) override {
    ++server_.call_count_;
    const auto& answer = server_.script_.list_models;
    return answer ? answer(*request, *response) : NotScripted();
  }
  grpc::Status GetModel(grpc::ServerContext*, const v1::GetModelRequest* request,
                        v1::GetModelResponse* response) override {
    ++server_.call_count_;
    const auto& answer = server_.script_.get_model;
    return answer ? answer(*request, *response) : NotScripted();
  }
  grpc::Status WatchModels(grpc::ServerContext*, const v1::WatchModelsRequest*,
                           ModelWriter* writer) override {
    ++server_.call_count_;
    const auto& answer = server_.script_.watch_models;
    return answer ? answer(*writer) : NotScripted();
  }

 private:
  ScriptedServer& server_;
};

class ScriptedServer::Info final : public v1::ServerService::Service {
 public:
  explicit Info(ScriptedServer& server) : server_(server) {}
  grpc::Status GetServerInfo(grpc::ServerContext*, const v1::GetServerInfoRequest*,
                             v1::GetServerInfoResponse* response) override {
    ++server_.call_count_;
    const auto& answer = server_.script_.get_server_info;
    return answer ? answer(*response) : NotScripted();
  }
  grpc::Status GetCapabilities(grpc::ServerContext*, const v1::GetCapabilitiesRequest*,
                               v1::GetCapabilitiesResponse* response) override {
    ++server_.call_count_;
    const auto& answer = server_.script_.get_capabilities;
    return answer ? answer(*response) : NotScripted();
  }

 private:
  ScriptedServer& server_;
};

ScriptedServer::ScriptedServer(Script script)
    : script_(std::move(script)),
      images_(std::make_unique<Images>(*this)),
      models_(std::make_unique<Models>(*this)),
      info_(std::make_unique<Info>(*this)) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(images_.get());
  builder.RegisterService(models_.get());
  builder.RegisterService(info_.get());
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) std::abort();
}

void ScriptedServer::ShutdownNow() { server_->Shutdown(std::chrono::system_clock::now()); }

ScriptedServer::~ScriptedServer() {
  server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(5));
}

grpc::Status MakeError(const ErrorParts& parts) {
  google::rpc::Status rich;
  rich.set_code(parts.code);
  rich.set_message(parts.message);
  google::rpc::ErrorInfo info;
  info.set_reason(parts.reason);
  info.set_domain("tightfit");
  for (const auto& [key, value] : parts.metadata) (*info.mutable_metadata())[key] = value;
  rich.add_details()->PackFrom(info);
  if (!parts.violations.empty()) {
    google::rpc::BadRequest bad_request;
    for (const auto& [field, description] : parts.violations) {
      auto* violation = bad_request.add_field_violations();
      violation->set_field(field);
      violation->set_description(description);
    }
    rich.add_details()->PackFrom(bad_request);
  }
  if (parts.retry_milliseconds >= 0) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(parts.retry_milliseconds / 1000);
    retry.mutable_retry_delay()->set_nanos(
        static_cast<int32_t>(parts.retry_milliseconds % 1000 * 1'000'000));
    rich.add_details()->PackFrom(retry);
  }
  if (!parts.resource_name.empty()) {
    google::rpc::ResourceInfo resource;
    resource.set_resource_type("model");
    resource.set_resource_name(parts.resource_name);
    rich.add_details()->PackFrom(resource);
  }
  return {parts.code, parts.message, rich.SerializeAsString()};
}

v1::StreamImagesResponse QueuedEvent(int32_t position) {
  v1::StreamImagesResponse event;
  event.mutable_queued()->set_position(position);
  return event;
}

v1::StreamImagesResponse StartedEvent(int64_t seed, int32_t image_count, int32_t step_count) {
  v1::StreamImagesResponse event;
  event.mutable_started()->set_request_id("request-1");
  v1::ResolvedParameters* parameters = event.mutable_started()->mutable_parameters();
  parameters->set_model("apples");
  parameters->set_model_hash("0123456789");
  parameters->set_width_px(64);
  parameters->set_height_px(32);
  parameters->set_step_count(step_count);
  parameters->set_guidance_scale(7.1f);
  parameters->set_guidance_rescale(0.3f);
  parameters->set_sampler("euler");
  parameters->set_seed(seed);
  parameters->set_image_count(image_count);
  parameters->mutable_original_size()->set_width_px(65);
  parameters->mutable_original_size()->set_height_px(33);
  parameters->mutable_target_size()->set_width_px(66);
  parameters->mutable_target_size()->set_height_px(34);
  parameters->mutable_crop_top_left()->set_left_px(3);
  parameters->mutable_crop_top_left()->set_top_px(2);
  parameters->set_format("hf8");
  parameters->set_scope("linear+conv");
  parameters->set_compute_dtype("fp32");
  return event;
}

v1::StreamImagesResponse DenoiseEvent(int32_t step, int32_t step_count, double elapsed_seconds) {
  v1::StreamImagesResponse event;
  v1::Progress* progress = event.mutable_progress();
  progress->set_stage(v1::STAGE_DENOISE);
  progress->set_step(step);
  progress->set_step_count(step_count);
  SetSeconds(elapsed_seconds, progress->mutable_elapsed_duration());
  if (step > 0) {
    SetSeconds(elapsed_seconds / step * (step_count - step),
               progress->mutable_remaining_duration());
  }
  return event;
}

v1::StreamImagesResponse ChunkEvent(int32_t image_index, int64_t offset_bytes, std::string content,
                                    int64_t total_bytes, bool last) {
  v1::StreamImagesResponse event;
  v1::ImageChunk* chunk = event.mutable_image_chunk();
  chunk->set_image_index(image_index);
  chunk->set_offset_bytes(offset_bytes);
  chunk->set_content(std::move(content));
  chunk->set_total_bytes(total_bytes);
  chunk->set_last(last);
  chunk->set_mime_type("image/png");
  return event;
}

v1::StreamImagesResponse CompletedEvent(int64_t seed, int32_t image_count) {
  v1::StreamImagesResponse event;
  v1::Completed* completed = event.mutable_completed();
  for (int32_t index = 0; index < image_count; ++index) {
    v1::ImageMetadata* image = completed->add_images();
    image->set_image_index(index);
    image->set_seed(seed + index);
    image->set_mime_type("image/png");
    image->set_width_px(64);
    image->set_height_px(32);
    image->set_size_bytes(1000);
  }
  v1::Timings* timings = completed->mutable_timings();
  SetSeconds(0.25, timings->mutable_queued_duration());
  SetSeconds(0.5, timings->mutable_text_encode_duration());
  SetSeconds(2.0, timings->mutable_denoise_duration());
  SetSeconds(0.75, timings->mutable_vae_decode_duration());
  SetSeconds(0.125, timings->mutable_image_encode_duration());
  SetSeconds(3.5, timings->mutable_total_duration());
  return event;
}

std::string ImageContent(int32_t image_index, int64_t size_bytes) {
  std::string content;
  for (int64_t i = 0; i < size_bytes; ++i) {
    content.push_back(static_cast<char>((i * 31 + i / 256 + image_index * 101) & 0xFF));
  }
  return content;
}

grpc::Status StreamWholeRequest(const v1::StreamImagesRequest& request, StreamWriter& writer,
                                int64_t image_bytes, int64_t chunk_bytes) {
  const int64_t seed = request.parameters().has_seed() ? request.parameters().seed() : 42;
  const int32_t image_count =
      request.parameters().has_image_count() ? request.parameters().image_count() : 1;
  const int32_t step_count =
      request.parameters().has_step_count() ? request.parameters().step_count() : 4;
  writer.Write(StartedEvent(seed, image_count, step_count));
  for (int32_t step = 0; step <= step_count; ++step) {
    writer.Write(DenoiseEvent(step, step_count, 0.5 + 0.5 * step));
  }
  for (int32_t index = 0; index < image_count; ++index) {
    const std::string content = ImageContent(index, image_bytes);
    for (int64_t offset = 0; offset < image_bytes; offset += chunk_bytes) {
      const int64_t length = std::min(chunk_bytes, image_bytes - offset);
      writer.Write(ChunkEvent(
          index, offset, content.substr(static_cast<size_t>(offset), static_cast<size_t>(length)),
          image_bytes, offset + length == image_bytes));
    }
  }
  writer.Write(CompletedEvent(seed, image_count));
  return grpc::Status::OK;
}

bool WaitForCancel(const grpc::ServerContext& context) {
  // The synchronous API has no notice of a cancel, so it is polled.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!context.IsCancelled()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace tightfit::testing
