// The engine's plain types as messages of proto/tightfit/v1/image_generation.proto.
#ifndef TIGHTFIT_SERVER_RPC_GENERATION_MESSAGES_H_
#define TIGHTFIT_SERVER_RPC_GENERATION_MESSAGES_H_

#include "server/engine/diffusion_model.h"
#include "server/engine/generation.h"

#include <google/protobuf/duration.pb.h>
#include <tightfit/v1/image_generation.pb.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace tightfit {

// One image as it is sent.
struct EncodedImage {
  int32_t index = 0;
  int64_t seed = 0;
  int32_t width_px = 0;
  int32_t height_px = 0;
  std::string mime_type;
  std::string content;
};

google::protobuf::Duration ToMessage(std::chrono::nanoseconds duration);
v1::ResolvedParameters ToMessage(const GenerationParameters& parameters,
                                 const ModelDescription& model);
v1::PromptTokens ToMessage(const PromptTokens& prompt);
void AddWarnings(const std::vector<RequestWarning>& warnings,
                 google::protobuf::RepeatedPtrField<v1::Warning>* messages);
v1::Progress ToMessage(const GenerationProgress& progress);
v1::ImageMetadata MetadataOf(const EncodedImage& image);
// `total` runs from the start to the last byte handed over.
v1::Timings ToMessage(const GenerationTimings& timings, std::chrono::nanoseconds image_encode,
                      std::chrono::nanoseconds total);
// The piece of `image` that starts at `offset_bytes`, at most `max_bytes` of it.
v1::ImageChunk ChunkOf(const EncodedImage& image, int64_t offset_bytes, int64_t max_bytes);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_GENERATION_MESSAGES_H_
