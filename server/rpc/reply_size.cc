#include "server/rpc/reply_size.h"

namespace tightfit {

int64_t LargestUnaryReplyBytes(const GenerationParameters& parameters) {
  // PNG rows carry one filter byte; deflate's stored blocks and PNG's chunk headers add less than 1
  // in 256; header, text (four prompts of 4096 bytes, each quoted, two of them a second time as
  // they are) and metadata less than 48 KiB.
  const GenerationParameters::SizePx size = OutputSize(parameters);
  const int64_t raw_bytes = (int64_t{size.width_px} * 3 + 1) * size.height_px;
  const int64_t image_bytes = raw_bytes + raw_bytes / 256 + (48 << 10);
  return image_bytes * parameters.image_count;
}

}  // namespace tightfit
