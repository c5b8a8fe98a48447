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

struct FreePixels {
  void operator()(uint8_t* pixels) const { WebPFree(pixels); }
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
  // libwebp's own buffer is touched as rows arrive, so that a file which says a size and holds
  // nothing costs next to nothing.
  const auto decode = decoded.channels == 4 ? WebPDecodeRGBA : WebPDecodeRGB;
  int width_px = 0;
  int height_px = 0;
  const std::unique_ptr<uint8_t, FreePixels> pixels(
      decode(bytes.data(), bytes.size(), &width_px, &height_px));
  if (pixels == nullptr || width_px != features.width || height_px != features.height) {
    return DamagedImage(kWebp);
  }
  const size_t size = static_cast<size_t>(width_px) * height_px * decoded.channels;
  decoded.bytes.assign(pixels.get(), pixels.get() + size);
  return decoded;
}

}  // namespace tightfit
