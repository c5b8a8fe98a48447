#include "client/cpp/png_text.h"

#include "client/cpp/utf8.h"
#include "server/base/latin1.h"

#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <utility>

namespace tightfit::client {
namespace {

constexpr std::string_view kSignature = "\x89PNG\r\n\x1a\n";
constexpr std::string_view kKeyword = "parameters";
constexpr size_t kMaxTextBytes = 1 << 20;
constexpr size_t kMaxKeywordBytes = 79;

Status Refuse(const std::string& what) {
  return {StatusCode::kInvalidArgument, "NO_PARAMETERS", what};
}

Status Broken(const char* what) {
  return Refuse(std::string("it is a PNG file that cannot be read: ") + what);
}

uint32_t BigEndian(std::string_view bytes) {
  uint32_t value = 0;
  for (const char c : bytes.substr(0, 4)) value = value << 8 | static_cast<uint8_t>(c);
  return value;
}

struct Chunk {
  std::string_view type;
  std::string_view data;
};

// Takes the next chunk off `rest`.
Result<Chunk> NextChunk(std::string_view* rest) {
  constexpr size_t kFrameBytes = 12;  // length, type, checksum
  if (rest->size() < kFrameBytes) return Broken("it ends too early");
  const uint32_t size = BigEndian(*rest);
  if (size > rest->size() - kFrameBytes) return Broken("it ends too early");
  const std::string_view checked = rest->substr(4, 4 + size_t{size});
  const auto* bytes = reinterpret_cast<const Bytef*>(checked.data());
  const uLong sum = crc32_z(0, bytes, checked.size());
  if (sum != BigEndian(rest->substr(8 + size_t{size}))) return Broken("a checksum is wrong");
  rest->remove_prefix(kFrameBytes + size);
  return Chunk{checked.substr(0, 4), checked.substr(4)};
}

// What stands before the next NUL, which goes too; nullopt where there is none.
std::optional<std::string_view> TakeUntilNul(std::string_view* rest) {
  const size_t end = rest->find('\0');
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view text = rest->substr(0, end);
  rest->remove_prefix(end + 1);
  return text;
}

Result<std::string> Inflated(std::string_view packed) {
  std::string text(kMaxTextBytes, '\0');
  z_stream stream{};
  if (inflateInit(&stream) != Z_OK) return Broken("its text cannot be unpacked");
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());  // a chunk has 32 bits of size
  stream.next_out = reinterpret_cast<Bytef*>(text.data());
  stream.avail_out = static_cast<uInt>(text.size());
  const int end = inflate(&stream, Z_FINISH);
  const size_t left = stream.avail_out;
  inflateEnd(&stream);
  if (end != Z_STREAM_END) {
    return Broken(left == 0 ? "its text is longer than 1 MiB" : "its text cannot be unpacked");
  }
  text.resize(text.size() - left);
  return text;
}

Result<std::string> Taken(std::string_view text, bool is_packed) {
  if (is_packed) return Inflated(text);
  if (text.size() > kMaxTextBytes) return Broken("its text is longer than 1 MiB");
  return std::string(text);
}

// What follows the keyword in a chunk of text, as UTF-8.
Result<std::string> TextOf(std::string_view type, std::string_view rest) {
  if (type == "tEXt") {
    TF_ASSIGN_OR_RETURN(const std::string text, Taken(rest, false));
    return Latin1ToUtf8(text);
  }
  const Status is_odd = Broken("its text has an unknown form");
  if (type == "zTXt") {
    if (rest.empty() || rest[0] != 0) return is_odd;
    TF_ASSIGN_OR_RETURN(const std::string text, Taken(rest.substr(1), true));
    return Latin1ToUtf8(text);
  }
  if (rest.size() < 2 || static_cast<uint8_t>(rest[0]) > 1 || (rest[0] == 1 && rest[1] != 0)) {
    return is_odd;
  }
  const bool is_packed = rest[0] == 1;
  rest.remove_prefix(2);
  // The language and the keyword in that language.
  if (!TakeUntilNul(&rest) || !TakeUntilNul(&rest)) return is_odd;
  TF_ASSIGN_OR_RETURN(std::string text, Taken(rest, is_packed));
  if (!IsUtf8(text)) return Broken("its text is no UTF-8");
  return text;
}

Status NothingIn(const std::set<std::string_view>& keywords) {
  if (keywords.contains("workflow") || keywords.contains("prompt")) {
    return Refuse("it holds a workflow of ComfyUI, which is not read; only A1111's text is");
  }
  if (keywords.contains("invokeai_metadata")) {
    return Refuse("it holds parameters of InvokeAI, which are not read; only A1111's text is");
  }
  return Refuse("it holds no text \"parameters\" to draw it from");
}

}  // namespace

Result<std::string> ParametersTextOfPng(std::string_view png) {
  if (!png.starts_with(kSignature)) return Refuse("it is no PNG file");
  png.remove_prefix(kSignature.size());
  std::set<std::string_view> keywords;
  for (bool is_first = true;; is_first = false) {
    TF_ASSIGN_OR_RETURN(const Chunk chunk, NextChunk(&png));
    if (is_first && chunk.type != "IHDR") return Broken("it does not begin with its header");
    if (chunk.type == "IEND") return NothingIn(keywords);
    if (chunk.type != "tEXt" && chunk.type != "zTXt" && chunk.type != "iTXt") continue;
    std::string_view rest = chunk.data;
    const std::optional<std::string_view> keyword = TakeUntilNul(&rest);
    if (!keyword.has_value() || keyword->size() > kMaxKeywordBytes) continue;
    if (*keyword == kKeyword) return TextOf(chunk.type, rest);
    if (keywords.size() < 64) keywords.insert(*keyword);
  }
}

}  // namespace tightfit::client
