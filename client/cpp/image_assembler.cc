#include "client/cpp/image_assembler.h"

#include "client/cpp/generation_client.h"

#include <utility>

namespace tightfit::client {
namespace {

Status Broken(int32_t image_index, const std::string& what) {
  return {StatusCode::kDataLoss, std::string(kBrokenStream),
          "image " + std::to_string(image_index) + ": " + what};
}

}  // namespace

Result<std::optional<Image>> ImageAssembler::Add(ImageChunk chunk) {
  const int32_t index = chunk.image_index;
  if (index < 0 || index >= image_count_) {
    return Broken(index, "its index is outside the request's " + std::to_string(image_count_));
  }
  if (complete_.contains(index)) return Broken(index, "a chunk came after its last one");
  if (chunk.total_bytes <= 0 || chunk.total_bytes > kMaxImageBytes) {
    return Broken(index, "its size is given as " + std::to_string(chunk.total_bytes) + " bytes");
  }

  Partial& partial = partial_[index];
  if (partial.total_bytes == 0) {
    partial.total_bytes = chunk.total_bytes;
    partial.mime_type = std::move(chunk.mime_type);
  }
  if (partial.total_bytes != chunk.total_bytes) return Broken(index, "its announced size changed");

  const int64_t expected = static_cast<int64_t>(partial.content.size());
  if (chunk.offset_bytes != expected) {
    return Broken(index, "a chunk starts at byte " + std::to_string(chunk.offset_bytes) +
                             " where byte " + std::to_string(expected) + " was due");
  }
  const int64_t chunk_bytes = static_cast<int64_t>(chunk.content.size());
  if (chunk_bytes > partial.total_bytes - expected) {
    return Broken(index,
                  "more came than the announced " + std::to_string(partial.total_bytes) + " bytes");
  }
  partial.content += chunk.content;
  if (!chunk.last) return std::optional<Image>();

  const int64_t received = static_cast<int64_t>(partial.content.size());
  if (received != partial.total_bytes) {
    return Broken(index, "it ended after " + std::to_string(received) + " of " +
                             std::to_string(partial.total_bytes) + " bytes");
  }
  Image image{.index = index,
              .seed = first_seed_ + index,
              .mime_type = std::move(partial.mime_type),
              .content = std::move(partial.content)};
  partial_.erase(index);
  complete_.insert(index);
  return std::optional<Image>(std::move(image));
}

Status ImageAssembler::CheckComplete() const {
  for (int32_t index = 0; index < image_count_; ++index) {
    if (!complete_.contains(index)) return Broken(index, "it never came whole");
  }
  return OkStatus();
}

}  // namespace tightfit::client
