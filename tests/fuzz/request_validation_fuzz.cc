// Fuzz target: serialized GenerateImagesRequests, as the server reads them. Whatever is accepted
// keeps to every limit; whatever is refused is refused with a reason that fits into an answer.
#include "server/base/limits.h"
#include "server/base/strength.h"
#include "server/engine/model_registry.h"
#include "server/engine/prompt_warnings.h"
#include "server/rpc/message_scan.h"
#include "server/rpc/reply_size.h"
#include "server/rpc/request_validator.h"
#include "server/rpc/status_mapping.h"
#include "server/rpc/unknown_fields.h"
#include "tests/fuzz/require.h"
#include "tests/support/fake_diffusion_model.h"

#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/stubs/logging.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <string>

namespace tightfit {
namespace {

ModelRegistry& Registry() {
  static ModelRegistry& registry = *[] {
    google::protobuf::SetLogHandler(nullptr);
    auto made = std::make_unique<ModelRegistry>(std::vector<ModelSpec>{{.name = "fake"}});
    made->SetResident("fake", MakeFakeModel("fake", std::make_shared<FakeModelControls>()));
    return made.release();
  }();
  return registry;
}

bool IsCleanPrompt(const std::string& prompt) {
  for (const char c : prompt) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7F) return false;
  }
  return prompt.size() <= 4096;
}

void CheckComposition(const GenerationParameters& accepted, const Limits& limits) {
  const RgbImage& image = *accepted.composition->image;
  const int64_t pixels = int64_t{image.width_px} * image.height_px;
  Require(std::ssize(image.rgb) == 3 * pixels);
  Require(pixels * accepted.image_count <= limits.max_area_px * limits.max_image_count);
  const PixelBox& box = accepted.composition->box;
  Require(box.left_px >= 0 && box.top_px >= 0 && box.width_px > 0 && box.height_px > 0);
  Require(box.left_px + box.width_px <= image.width_px);
  Require(box.top_px + box.height_px <= image.height_px);
  Require(std::ssize(accepted.composition->opacity) == int64_t{box.width_px} * box.height_px);
}

void CheckAccepted(const GenerationParameters& accepted, const Limits& limits) {
  const auto between = [](auto value, auto low, auto high) {
    return value >= low && value <= high;
  };
  Require(between(accepted.width_px, limits.min_side_px, limits.max_side_px));
  Require(between(accepted.height_px, limits.min_side_px, limits.max_side_px));
  Require(accepted.width_px % 4 == 0 && accepted.height_px % 4 == 0);
  Require(between(accepted.step_count, 1, limits.max_step_count));
  Require(between(accepted.image_count, 1, limits.max_image_count));
  Require(between(accepted.guidance_scale, 0.0f, limits.max_guidance_scale));
  Require(between(accepted.guidance_rescale, 0.0f, 1.0f));
  Require(between(accepted.clip_skip, 0, 2));
  Require(accepted.denoising_start >= 0.0f && accepted.denoising_start < accepted.denoising_end);
  Require(accepted.denoising_end <= 1.0f);
  const int64_t area = int64_t{accepted.width_px} * accepted.height_px;
  Require(area <= limits.max_area_px);
  Require(area * accepted.image_count * accepted.step_count <= limits.max_pixel_steps);
  Require(accepted.seed >= 0 && accepted.seed <= INT64_MAX - accepted.image_count);
  Require(accepted.sampler == "euler" || accepted.sampler == "euler-a");
  Require(accepted.timestep_spacing == "leading" || accepted.timestep_spacing == "trailing" ||
          accepted.timestep_spacing == "linspace");
  Require(between(accepted.comma_backtrack_tokens, 0, 74));
  Require(IsCleanPrompt(accepted.prompt));
  for (const auto& prompt :
       {accepted.prompt_2, accepted.negative_prompt, accepted.negative_prompt_2}) {
    if (prompt.has_value()) Require(IsCleanPrompt(*prompt));
  }
  for (const Latents& latents : accepted.initial_latents) {
    Require(latents.channels == 4 && latents.height * 4 == accepted.height_px &&
            latents.width * 4 == accepted.width_px);
  }
  if (accepted.init_image != nullptr) {
    const auto pixels = static_cast<size_t>(area);
    Require(accepted.init_image->width_px == accepted.width_px &&
            accepted.init_image->height_px == accepted.height_px &&
            accepted.init_image->rgb.size() == 3 * pixels);
    Require(accepted.strength > 0.0 && accepted.strength <= 1.0);
    Require(StepsOfStrength(accepted.strength, accepted.step_count) >= 1);
    Require(accepted.initial_latents.empty() && accepted.denoising_end == 1.0f);
    Require(accepted.mask == nullptr || accepted.mask->drawn.size() == pixels);
  } else {
    Require(accepted.mask == nullptr && accepted.composition == nullptr);
  }
  if (accepted.composition != nullptr) CheckComposition(accepted, limits);
  const bool goes_on = accepted.denoising_start > 0.0f;
  Require(std::ssize(accepted.initial_latents) == (goes_on ? accepted.image_count : 0));
  Require(LargestUnaryReplyBytes(accepted) <= limits.max_unary_reply_bytes);
}

void CheckWarnings(const AcceptedRequest& accepted, const v1::ImageParameters& asked) {
  Require(accepted.warnings.size() <= kMaxRequestWarnings);
  for (const RequestWarning& warning : accepted.warnings) {
    const std::string& value = warning.field == "prompt"            ? asked.prompt()
                               : warning.field == "prompt_2"        ? asked.prompt_2()
                               : warning.field == "negative_prompt" ? asked.negative_prompt()
                                                                    : asked.negative_prompt_2();
    Require(value.compare(warning.offset_bytes, warning.text.size(), warning.text) == 0);
    Require(!warning.text.empty() && !warning.message.empty());
  }
}

}  // namespace
}  // namespace tightfit

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tightfit;
  ModelRegistry& registry = Registry();
  const Limits limits;
  google::protobuf::io::ArrayInputStream bytes(data, static_cast<int>(size));
  const MessageScan scan =
      ScanMessage(&bytes, *v1::GenerateImagesRequest::descriptor(), limits.max_message_fields);
  v1::GenerateImagesRequest request;
  const bool parsed = request.ParseFromArray(data, static_cast<int>(size));
  // What is refused unread could not be served: it cannot be read, or holds unknown groups.
  if (scan != MessageScan::kOk) {
    Require(scan == MessageScan::kTooManyFields || !parsed || !UnknownFields(request).empty());
    return 0;
  }
  if (!parsed) return 0;
  Require(static_cast<int64_t>(request.SpaceUsedLong()) <=
          static_cast<int64_t>(4 * size) + int64_t{200} * limits.max_message_fields);
  const Result<AcceptedRequest> accepted = ValidateRequest(request, limits, registry);
  if (accepted.ok()) {
    CheckAccepted(accepted->parameters, limits);
    CheckWarnings(*accepted, request.parameters());
    return 0;
  }
  const grpc::Status status = ToGrpcStatus(accepted.status());
  Require(status.error_code() == grpc::StatusCode::INVALID_ARGUMENT ||
          status.error_code() == grpc::StatusCode::NOT_FOUND);
  // Trailers of 8 KiB, in which the details stand in base64.
  Require(status.error_message().size() + status.error_details().size() * 4 / 3 < 8000);
  return 0;
}
