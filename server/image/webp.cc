#include "server/image/webp.h"

#include "server/image/exif_orientation.h"

#include <webp/decode.h>
#include <webp/demux.h>

#include <cstddef>
#include <memory>

namespace tightfit {
namespace {

constexpr char kWebp[] = "WebP";

struct DeleteDemuxer {
  void operator()(WebPDemuxer* demuxer) const { WebPDemuxDelete(demuxer); }
};

int32_t OrientationOf(const WebPDemuxer* demuxer) {
  WebPChunkIterator chunk;
  int32_t orientation = 1;
  if (WebPDemuxGetChunk(demuxer, "EXIF", 1, &chunk)) {
    orientation = ExifOrientation({chunk.chunk.bytes, chunk.chunk.size});
  }
  WebPDemuxReleaseChunkIterator(&chunk);
  return orientation;
}

}  // namespace

Result<DecodedPixels> DecodeWebp(std::span<const uint8_t> bytes, int64_t max_pixels) {
  const WebPData data{bytes.data(), bytes.size()};
  WebPDemuxState state = WEBP_DEMUX_PARSE_ERROR;
  const std::unique_ptr<WebPDemuxer, DeleteDemuxer> demuxer(WebPDemuxPartial(&data, &state));
  if (demuxer == nullptr || state == WEBP_DEMUX_PARSE_ERROR) return DamagedImage(kWebp);
  if (state == WEBP_DEMUX_PARSING_HEADER) return CutOffImage(kWebp);
  const uint32_t flags = WebPDemuxGetI(demuxer.get(), WEBP_FF_FORMAT_FLAGS);
  if ((flags & ANIMATION_FLAG) != 0) {
    return InvalidArgument("is an animation, but must be a single image: send one of its frames");
  }
  TF_RETURN_IF_ERROR(CheckInputSize(WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_WIDTH),
                                    WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_HEIGHT),
                                    max_pixels));
  if (state != WEBP_DEMUX_DONE) return CutOffImage(kWebp);

  WebPBitstreamFeatures features;
  if (WebPGetFeatures(bytes.data(), bytes.size(), &features) != VP8_STATUS_OK) {
    return DamagedImage(kWebp);
  }
  TF_RETURN_IF_ERROR(CheckInputSize(features.width, features.height, max_pixels));
  DecodedPixels decoded;
  decoded.width_px = features.width;
  decoded.height_px = features.height;
  decoded.channels = features.has_alpha != 0 ? 4 : 3;
  decoded.exif_orientation = OrientationOf(demuxer.get());
  const int row_bytes = features.width * decoded.channels;
  decoded.bytes.resize(static_cast<size_t>(row_bytes) * features.height);
  const auto decode = decoded.channels == 4 ? WebPDecodeRGBAInto : WebPDecodeRGBInto;
  if (decode(bytes.data(), bytes.size(), decoded.bytes.data(), decoded.bytes.size(), row_bytes) ==
      nullptr) {
    return DamagedImage(kWebp);
  }
  return decoded;
}

}  // namespace tightfit
