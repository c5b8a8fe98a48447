#include "server/image/png.h"

#include "server/base/latin1.h"
#include "server/image/exif_orientation.h"

#include <png.h>
#include <zlib.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>
#include <string_view>

namespace tightfit {
namespace {

constexpr int kBitDepth = 8;
constexpr size_t kBytesPerPixel = 3;
constexpr size_t kMaxKeywordBytes = 79;
constexpr png_alloc_size_t kMaxTextBytes = 1 << 20;  // of one chunk that is read
constexpr png_uint_32 kMaxTextChunks = 16;
constexpr char kAnimationChunk[] = "acTL";

// libpng reports errors by longjmp, which must not pass over a frame that has anything to destroy:
// each function below that calls setjmp, and each callback, holds plain values only. What has a
// destructor belongs to their callers and is reached through these two structs.
struct Writer {
  std::vector<uint8_t>* output;
  char error[128];
};

struct Reader {
  std::span<const uint8_t> input;
  size_t position;
  char error[128];
  bool is_cut_off = false;
};

template <typename Stream>
[[noreturn]] void StopWithError(png_structp png, png_const_charp message) {
  Stream* stream = static_cast<Stream*>(png_get_error_ptr(png));
  std::snprintf(stream->error, sizeof(stream->error), "%s", message);
  png_longjmp(png, 1);
}

void IgnoreWarning(png_structp, png_const_charp) {}

bool Append(std::vector<uint8_t>& output, const png_byte* bytes, size_t size) {
  try {
    output.insert(output.end(), bytes, bytes + size);
  } catch (const std::bad_alloc&) {  // must not pass through libpng
    return false;
  }
  return true;
}

void WriteBytes(png_structp png, png_bytep bytes, size_t size) {
  Writer* writer = static_cast<Writer*>(png_get_io_ptr(png));
  if (!Append(*writer->output, bytes, size)) png_error(png, "out of memory");
}

void FlushNothing(png_structp) {}

void ReadBytes(png_structp png, png_bytep bytes, size_t size) {
  Reader* reader = static_cast<Reader*>(png_get_io_ptr(png));
  if (size > reader->input.size() - reader->position) {
    reader->is_cut_off = true;
    png_error(png, "it ends too early");
  }
  std::memcpy(bytes, reader->input.data() + reader->position, size);
  reader->position += size;
}

bool WritePng(png_structp png, png_infop info, const RgbImage& image, png_textp texts,
              int text_count) {
  if (setjmp(png_jmpbuf(png))) return false;
  png_set_IHDR(png, info, static_cast<png_uint_32>(image.width_px),
               static_cast<png_uint_32>(image.height_px), kBitDepth, PNG_COLOR_TYPE_RGB,
               PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  // Filtered images hold few repeats that are worth a search. Run lengths alone gave photo-like
  // 1024x1024 images in 69 ms and 1.43 MB, where zlib's default took 457 ms for 1.52 MB.
  png_set_filter(png, PNG_FILTER_TYPE_BASE, PNG_ALL_FILTERS);
  png_set_compression_strategy(png, Z_RLE);
  png_set_text(png, info, texts, text_count);
  png_write_info(png, info);
  const size_t row_bytes = static_cast<size_t>(image.width_px) * kBytesPerPixel;
  for (int32_t y = 0; y < image.height_px; ++y) {
    png_write_row(png, image.rgb.data() + static_cast<size_t>(y) * row_bytes);
  }
  png_write_end(png, info);
  return true;
}

struct PngSize {
  png_uint_32 width_px;
  png_uint_32 height_px;
};

// Whatever is wrong ends the reading. Of the ancillary chunks only `kept` are looked at, names of
// four bytes and a NUL: colour profiles and the like are skipped unread.
void ReadStrictly(png_structp png, const char* kept, int kept_count) {
  png_set_sig_bytes(png, 0);
  png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
  png_set_benign_errors(png, 0);
  png_set_chunk_malloc_max(png, kMaxTextBytes);
  png_set_chunk_cache_max(png, kMaxTextChunks);
  png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
  png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_AS_DEFAULT,
                              reinterpret_cast<png_const_bytep>(kept), kept_count);
}

// Reads up to the pixels and asks for RGB.
bool ReadPngHeader(png_structp png, png_infop info, int64_t max_pixels, PngSize* size) {
  if (setjmp(png_jmpbuf(png))) return false;
  ReadStrictly(png, "tEXt\0zTXt\0iTXt", 3);
  png_read_info(png, info);
  size->width_px = png_get_image_width(png, info);
  size->height_px = png_get_image_height(png, info);
  if (png_get_bit_depth(png, info) != kBitDepth) png_error(png, "it has not 8 bits per channel");
  if (max_pixels < 0 ||
      static_cast<uint64_t>(size->width_px) * size->height_px > static_cast<uint64_t>(max_pixels)) {
    png_error(png, "it has too many pixels");
  }
  const png_byte color_type = png_get_color_type(png, info);
  if (color_type == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
  if ((color_type & PNG_COLOR_MASK_COLOR) == 0) png_set_gray_to_rgb(png);
  png_set_strip_alpha(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  if (png_get_rowbytes(png, info) != size->width_px * kBytesPerPixel) {
    png_error(png, "its pixels cannot become RGB");
  }
  return true;
}

// The number of frames that an animation's chunk tells, 1 where there is none.
uint32_t FrameCount(png_structp png, png_infop info) {
  png_unknown_chunkp chunks = nullptr;
  const int count = png_get_unknown_chunks(png, info, &chunks);
  for (int i = 0; i < count; ++i) {
    if (std::memcmp(chunks[i].name, kAnimationChunk, 4) == 0 && chunks[i].size >= 4) {
      return png_get_uint_32(chunks[i].data);
    }
  }
  return 1;
}

// Reads up to the pixels.
bool ReadInputHeader(png_structp png, png_infop info, PngSize* size, uint32_t* frame_count) {
  if (setjmp(png_jmpbuf(png))) return false;
  ReadStrictly(png, "eXIf", 1);
  png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_ALWAYS,
                              reinterpret_cast<png_const_bytep>(kAnimationChunk), 1);
  // The caller has limits of its own, and can tell them.
  png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
  png_read_info(png, info);
  size->width_px = png_get_image_width(png, info);
  size->height_px = png_get_image_height(png, info);
  *frame_count = FrameCount(png, info);
  return true;
}

// After ReadInputHeader. Asks for 8 bits of RGB or of RGB and alpha.
bool ConvertInput(png_structp png, png_infop info, int* channels) {
  if (setjmp(png_jmpbuf(png))) return false;
  png_set_expand(png);
  png_set_strip_16(png);
  png_set_gray_to_rgb(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  *channels = png_get_channels(png, info);
  return true;
}

bool ReadPngRows(png_structp png, png_bytepp rows, size_t count) {
  if (setjmp(png_jmpbuf(png))) return false;
  png_read_rows(png, rows, nullptr, static_cast<png_uint_32>(count));
  return true;
}

bool ReadPngEnd(png_structp png, png_infop info) {
  if (setjmp(png_jmpbuf(png))) return false;
  png_read_end(png, info);
  return true;
}

bool ReadPngPixels(png_structp png, png_infop info, png_bytepp rows) {
  if (setjmp(png_jmpbuf(png))) return false;
  png_read_image(png, rows);
  png_read_end(png, info);
  return true;
}

struct WriteHandle {
  png_structp png = nullptr;
  png_infop info = nullptr;
  ~WriteHandle() { png_destroy_write_struct(&png, &info); }
};

struct ReadHandle {
  png_structp png = nullptr;
  png_infop info = nullptr;
  ~ReadHandle() { png_destroy_read_struct(&png, &info, nullptr); }
};

// PNG 1.2, 11.3.4.2: printable Latin-1, single spaces between words only.
bool IsValidKeyword(std::string_view keyword) {
  if (keyword.empty() || keyword.size() > kMaxKeywordBytes) return false;
  if (keyword.front() == ' ' || keyword.back() == ' ') return false;
  if (keyword.find("  ") != std::string_view::npos) return false;
  return std::all_of(keyword.begin(), keyword.end(), [](char c) {
    const uint8_t byte = static_cast<uint8_t>(c);
    return (byte >= 0x20 && byte < 0x7F) || byte >= 0xA1;
  });
}

bool IsPlainAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= 0x20 && c < 0x7F) || c == '\n'; });
}

Status BadPng(const char* what) {
  return InvalidArgument(std::string("the PNG file cannot be read: ") + what);
}

std::map<std::string, std::string> TextsOf(png_structp png, png_infop info) {
  png_textp texts = nullptr;
  const int count = png_get_text(png, info, &texts, nullptr);
  std::map<std::string, std::string> by_keyword;
  for (int i = 0; i < count; ++i) {
    const bool is_utf8 = texts[i].compression == PNG_ITXT_COMPRESSION_NONE ||
                         texts[i].compression == PNG_ITXT_COMPRESSION_zTXt;
    const std::string_view text = texts[i].text == nullptr ? "" : texts[i].text;
    by_keyword.emplace(texts[i].key, is_utf8 ? std::string(text) : Latin1ToUtf8(text));
  }
  return by_keyword;
}

int32_t OrientationOf(png_structp png, png_infop info) {
  png_uint_32 size = 0;
  png_bytep exif = nullptr;
  if (png_get_eXIf_1(png, info, &size, &exif) == 0 || exif == nullptr) return 1;
  return ExifOrientation({exif, size});
}

Status InputProblem(const Reader& reader) {
  constexpr char kPng[] = "PNG";
  return reader.is_cut_off ? CutOffImage(kPng) : DamagedImage(kPng);
}

// For a reader of `reader`; false where there is no memory for it.
bool OpenReader(Reader* reader, ReadHandle* handle) {
  handle->png =
      png_create_read_struct(PNG_LIBPNG_VER_STRING, reader, StopWithError<Reader>, IgnoreWarning);
  if (handle->png == nullptr) return false;
  handle->info = png_create_info_struct(handle->png);
  if (handle->info == nullptr) return false;
  png_set_read_fn(handle->png, reader, ReadBytes);
  return true;
}

// Where each row of an image of `row_bytes` a row begins.
std::vector<png_bytep> RowsOf(uint8_t* bytes, size_t row_bytes, size_t count) {
  std::vector<png_bytep> rows(count);
  for (size_t y = 0; y < count; ++y) rows[y] = bytes + y * row_bytes;
  return rows;
}

}  // namespace

Result<std::vector<uint8_t>> EncodePng(const RgbImage& image,
                                       const std::map<std::string, std::string>& text) {
  if (image.width_px <= 0 || image.height_px <= 0 ||
      image.rgb.size() != static_cast<size_t>(image.width_px) *
                              static_cast<size_t>(image.height_px) * kBytesPerPixel) {
    return InvalidArgument("an image needs width x height x 3 bytes, and a pixel at least");
  }
  std::vector<png_text> texts;
  for (const auto& [keyword, value] : text) {
    if (!IsValidKeyword(keyword)) {
      return InvalidArgument(
          "a PNG text keyword is 1 to 79 printable Latin-1 characters with single inner spaces");
    }
    if (value.find('\0') != std::string::npos) {
      return InvalidArgument("a PNG text cannot hold NUL");
    }
    png_text entry{};
    entry.compression = IsPlainAscii(value) ? PNG_TEXT_COMPRESSION_NONE : PNG_ITXT_COMPRESSION_NONE;
    // libpng copies both and changes neither.
    entry.key = const_cast<char*>(keyword.c_str());
    entry.text = const_cast<char*>(value.c_str());
    texts.push_back(entry);
  }

  std::vector<uint8_t> output;
  Writer writer{&output, {}};
  WriteHandle handle;
  handle.png =
      png_create_write_struct(PNG_LIBPNG_VER_STRING, &writer, StopWithError<Writer>, IgnoreWarning);
  if (handle.png == nullptr) return Internal("a PNG file cannot be written");
  handle.info = png_create_info_struct(handle.png);
  if (handle.info == nullptr) return Internal("a PNG file cannot be written");
  png_set_write_fn(handle.png, &writer, WriteBytes, FlushNothing);
  if (!WritePng(handle.png, handle.info, image, texts.data(), static_cast<int>(texts.size()))) {
    return Internal("a PNG file cannot be written", writer.error);
  }
  return output;
}

Result<DecodedPng> DecodePng(std::span<const uint8_t> bytes, int64_t max_pixels) {
  Reader reader{bytes, 0, {}};
  ReadHandle handle;
  if (!OpenReader(&reader, &handle)) return Internal("a PNG file cannot be read");
  PngSize size{};
  if (!ReadPngHeader(handle.png, handle.info, max_pixels, &size)) return BadPng(reader.error);

  DecodedPng decoded;
  decoded.image.width_px = static_cast<int32_t>(size.width_px);
  decoded.image.height_px = static_cast<int32_t>(size.height_px);
  const size_t row_bytes = size.width_px * kBytesPerPixel;
  decoded.image.rgb.resize(row_bytes * size.height_px);
  std::vector<png_bytep> rows = RowsOf(decoded.image.rgb.data(), row_bytes, size.height_px);
  if (!ReadPngPixels(handle.png, handle.info, rows.data())) return BadPng(reader.error);
  if (reader.position != bytes.size()) return BadPng("something follows its end");
  decoded.text = TextsOf(handle.png, handle.info);
  return decoded;
}

Result<DecodedPixels> DecodePngPixels(std::span<const uint8_t> bytes, int64_t max_pixels) {
  Reader reader{bytes, 0, {}};
  ReadHandle handle;
  if (!OpenReader(&reader, &handle)) return Internal("a PNG file cannot be read");
  PngSize size{};
  uint32_t frame_count = 1;
  if (!ReadInputHeader(handle.png, handle.info, &size, &frame_count)) return InputProblem(reader);
  TF_RETURN_IF_ERROR(CheckInputSize(size.width_px, size.height_px, max_pixels));
  if (frame_count > 1) {
    return InvalidArgument("is an animation, but must be a single image: send one of its frames");
  }
  DecodedPixels decoded;
  decoded.width_px = static_cast<int32_t>(size.width_px);
  decoded.height_px = static_cast<int32_t>(size.height_px);
  if (!ConvertInput(handle.png, handle.info, &decoded.channels)) return InputProblem(reader);
  const size_t row_bytes = static_cast<size_t>(size.width_px) * decoded.channels;
  if (png_get_rowbytes(handle.png, handle.info) != row_bytes) return DamagedImage("PNG");
  const auto read = [&](uint8_t* bytes, size_t count) {
    return ReadPngRows(handle.png, RowsOf(bytes, row_bytes, count).data(), count);
  };
  // Each pass of an interlaced image goes over all of it.
  const bool is_interlaced = png_get_interlace_type(handle.png, handle.info) != PNG_INTERLACE_NONE;
  bool is_read = false;
  if (is_interlaced) {
    decoded.bytes.resize(row_bytes * size.height_px);
    std::vector<png_bytep> rows = RowsOf(decoded.bytes.data(), row_bytes, size.height_px);
    is_read = ReadPngPixels(handle.png, handle.info, rows.data());
  } else {
    is_read = ReadInBands(row_bytes, size.height_px, &decoded.bytes, read) &&
              ReadPngEnd(handle.png, handle.info);
  }
  if (!is_read) return InputProblem(reader);
  decoded.exif_orientation = OrientationOf(handle.png, handle.info);
  return decoded;
}

}  // namespace tightfit
