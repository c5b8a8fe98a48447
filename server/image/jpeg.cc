#include "server/image/jpeg.h"

#include "server/image/exif_orientation.h"

#include <csetjmp>
#include <cstddef>
#include <cstdio>

// After <cstdio>, whose types it uses.
#include <jerror.h>
#include <jpeglib.h>

namespace tightfit {
namespace {

constexpr char kJpeg[] = "JPEG";
constexpr int kExifMarker = JPEG_APP0 + 1;
constexpr unsigned kMaxMarkerBytes = 0xFFFF;
// Encoders write ten or so; each may touch every pixel for a few bytes of the file.
constexpr int kMaxScans = 100;

// libjpeg reports errors by a call that must not return. It ends in a longjmp, which must not pass
// over a frame that has anything to destroy: each function below that calls setjmp, and each
// callback, holds plain values only. What has a destructor belongs to their callers.
struct JpegReader {
  jpeg_decompress_struct jpeg;
  jpeg_error_mgr errors;
  jpeg_progress_mgr progress;
  std::jmp_buf escape;
  int problem;  // libjpeg's number of the error or of the first warning that counts; 0: none
};

JpegReader& ReaderOf(j_common_ptr jpeg) { return *static_cast<JpegReader*>(jpeg->client_data); }

[[noreturn]] void StopReading(j_common_ptr jpeg) {
  JpegReader& reader = ReaderOf(jpeg);
  if (reader.problem == 0) reader.problem = jpeg->err->msg_code;
  std::longjmp(reader.escape, 1);
}

// Warnings are of damage that libjpeg goes on from, with made-up pixels; but not these.
bool IsHarmless(int warning) {
  return warning == JWRN_EXTRANEOUS_DATA || warning == JWRN_JFIF_MAJOR ||
         warning == JWRN_ADOBE_XFORM || warning == JWRN_TOO_MUCH_DATA;
}

void TakeMessage(j_common_ptr jpeg, int level) {
  constexpr int kWarning = -1;
  if (level == kWarning && !IsHarmless(jpeg->err->msg_code)) StopReading(jpeg);
}

void SayNothing(j_common_ptr) {}

void CountScans(j_common_ptr jpeg) {
  if (reinterpret_cast<j_decompress_ptr>(jpeg)->input_scan_number > kMaxScans) StopReading(jpeg);
}

bool ReadJpegHeader(JpegReader* reader, const uint8_t* bytes, size_t size) {
  if (setjmp(reader->escape)) return false;
  jpeg_create_decompress(&reader->jpeg);
  reader->jpeg.client_data = reader;
  reader->jpeg.progress = &reader->progress;
  jpeg_mem_src(&reader->jpeg, bytes, size);
  jpeg_save_markers(&reader->jpeg, kExifMarker, kMaxMarkerBytes);
  jpeg_read_header(&reader->jpeg, TRUE);
  return true;
}

bool StartJpeg(JpegReader* reader) {
  if (setjmp(reader->escape)) return false;
  reader->jpeg.out_color_space = JCS_RGB;
  jpeg_start_decompress(&reader->jpeg);
  return true;
}

bool ReadJpegRows(JpegReader* reader, uint8_t* pixels, size_t count) {
  if (setjmp(reader->escape)) return false;
  const size_t row_bytes = static_cast<size_t>(reader->jpeg.output_width) * 3;
  const JDIMENSION first = reader->jpeg.output_scanline;
  while (reader->jpeg.output_scanline < first + count) {
    JSAMPROW row = pixels + (reader->jpeg.output_scanline - first) * row_bytes;
    jpeg_read_scanlines(&reader->jpeg, &row, 1);
  }
  return true;
}

bool FinishJpeg(JpegReader* reader) {
  if (setjmp(reader->escape)) return false;
  jpeg_finish_decompress(&reader->jpeg);
  return true;
}

// Neither fails nor calls back.
struct JpegHandle {
  JpegReader reader{};
  ~JpegHandle() { jpeg_destroy_decompress(&reader.jpeg); }
};

Status ProblemOf(const JpegReader& reader) {
  switch (reader.problem) {
    case JERR_BAD_PRECISION:
      return InvalidArgument("has 12 or 16 bits per channel, but a JPEG may have 8: convert it");
    case JERR_OUT_OF_MEMORY:
      return {StatusCode::kResourceExhausted, "OUT_OF_MEMORY",
              "the host's memory does not suffice to decode an image"};
    case JERR_INPUT_EMPTY:
    case JERR_INPUT_EOF:
    case JWRN_JPEG_EOF:
      return CutOffImage(kJpeg);
    default:
      return DamagedImage(kJpeg);
  }
}

int32_t OrientationOf(const jpeg_decompress_struct& jpeg) {
  for (const jpeg_marker_struct* marker = jpeg.marker_list; marker; marker = marker->next) {
    const int32_t orientation = ExifOrientation({marker->data, marker->data_length});
    if (orientation != 1) return orientation;
  }
  return 1;
}

}  // namespace

Result<DecodedPixels> DecodeJpeg(std::span<const uint8_t> bytes, int64_t max_pixels) {
  JpegHandle handle;
  JpegReader& reader = handle.reader;
  reader.jpeg.err = jpeg_std_error(&reader.errors);
  reader.errors.error_exit = StopReading;
  reader.errors.emit_message = TakeMessage;
  reader.errors.output_message = SayNothing;
  reader.progress.progress_monitor = CountScans;
  reader.jpeg.client_data = &reader;
  if (!ReadJpegHeader(&reader, bytes.data(), bytes.size())) return ProblemOf(reader);

  const jpeg_decompress_struct& jpeg = reader.jpeg;
  TF_RETURN_IF_ERROR(CheckInputSize(jpeg.image_width, jpeg.image_height, max_pixels));
  if (jpeg.jpeg_color_space == JCS_CMYK || jpeg.jpeg_color_space == JCS_YCCK) {
    return InvalidArgument("has CMYK colours, which its profile alone tells: convert it to RGB");
  }
  if (jpeg.jpeg_color_space == JCS_UNKNOWN) {
    return InvalidArgument("has " + std::to_string(jpeg.num_components) +
                           " channels of unknown colours: convert it to RGB");
  }
  DecodedPixels decoded;
  decoded.width_px = static_cast<int32_t>(jpeg.image_width);
  decoded.height_px = static_cast<int32_t>(jpeg.image_height);
  decoded.exif_orientation = OrientationOf(jpeg);
  const auto read = [&reader](uint8_t* rows, size_t count) {
    return ReadJpegRows(&reader, rows, count);
  };
  if (!StartJpeg(&reader) ||
      !ReadInBands(size_t{jpeg.image_width} * 3, jpeg.image_height, &decoded.bytes, read) ||
      !FinishJpeg(&reader)) {
    return ProblemOf(reader);
  }
  return decoded;
}

}  // namespace tightfit
