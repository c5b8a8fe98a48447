#include "client/cpp/png_text.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <cstdint>
#include <string>

namespace tightfit::client {
namespace {

std::string BigEndian(uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
  return bytes;
}

std::string Chunk(const std::string& type, const std::string& data) {
  const std::string checked = type + data;
  const uLong sum =
      crc32(0, reinterpret_cast<const Bytef*>(checked.data()), static_cast<uInt>(checked.size()));
  return BigEndian(static_cast<uint32_t>(data.size())) + checked +
         BigEndian(static_cast<uint32_t>(sum));
}

std::string Packed(const std::string& text) {
  uLongf size = compressBound(text.size());
  std::string packed(size, '\0');
  compress(reinterpret_cast<Bytef*>(packed.data()), &size,
           reinterpret_cast<const Bytef*>(text.data()), text.size());
  packed.resize(size);
  return packed;
}

const std::string kSignature = "\x89PNG\r\n\x1a\n";
const std::string kNul(1, '\0');
const std::string kHeader = Chunk("IHDR", std::string(13, '\1'));
const std::string kEnd = Chunk("IEND", "");

std::string Png(const std::string& chunks) { return kSignature + kHeader + chunks + kEnd; }

std::string Text(const std::string& png) {
  const Result<std::string> text = ParametersTextOfPng(png);
  return text.ok() ? *text : "error: " + text.status().message();
}

TEST(PngTextTest, ReadsEveryKindOfTextChunk) {
  const std::string key = "parameters" + kNul;
  EXPECT_EQ(Text(Png(Chunk("tEXt", key + "caf\xE9"))), "caf\u00E9");
  EXPECT_EQ(Text(Png(Chunk("zTXt", key + kNul + Packed("caf\xE9")))), "caf\u00E9");
  EXPECT_EQ(Text(Png(Chunk("iTXt", key + kNul + kNul + "en" + kNul + kNul + "\u732B"))), "\u732B");
  EXPECT_EQ(Text(Png(Chunk("iTXt", key + "\1" + kNul + kNul + kNul + Packed("\u732B")))), "\u732B");
  EXPECT_EQ(Text(Png(Chunk("tEXt", "Title" + kNul + "x") + Chunk("IDAT", "pixels") +
                     Chunk("tEXt", key + "first") + Chunk("tEXt", key + "second"))),
            "first");
}

TEST(PngTextTest, RefusesWhatIsNoSuchImageInOneLine) {
  const std::string key = "parameters" + kNul;
  std::string damaged = Png(Chunk("tEXt", key + "a"));
  damaged[damaged.size() - 14] ^= 1;
  const std::string good = Png(Chunk("tEXt", key + "a"));
  const std::pair<std::string, const char*> cases[] = {
      {"", "no PNG"},
      {"GIF89a", "no PNG"},
      {kSignature, "too early"},
      {good.substr(0, 20), "too early"},
      {kSignature + kHeader, "too early"},
      {kSignature + BigEndian(0xFFFFFFFF) + "IHDR" + std::string(20, 'x'), "too early"},
      {kSignature + Chunk("tEXt", key + "a") + kEnd, "header"},
      {damaged, "checksum"},
      {Png(""), "no text"},
      {Png(Chunk("tEXt", "parameters")), "no text"},
      {Png(Chunk("tEXt", "workflow" + kNul + "{}")), "ComfyUI"},
      {Png(Chunk("tEXt", "invokeai_metadata" + kNul + "{}")), "InvokeAI"},
      {Png(Chunk("zTXt", key)), "unknown form"},
      {Png(Chunk("zTXt", key + "\1" + Packed("a"))), "unknown form"},
      {Png(Chunk("zTXt", key + kNul + "garbage")), "unpacked"},
      {Png(Chunk("zTXt", key + kNul + Packed(std::string(1000, 'a')).substr(0, 9))), "unpacked"},
      {Png(Chunk("zTXt", key + kNul + Packed(std::string(64 << 20, 'a')))), "1 MiB"},
      {Png(Chunk("tEXt", key + std::string((1 << 20) + 1, 'a'))), "1 MiB"},
      {Png(Chunk("iTXt", key)), "unknown form"},
      {Png(Chunk("iTXt", key + "\2" + kNul + kNul + kNul + "a")), "unknown form"},
      {Png(Chunk("iTXt", key + kNul + kNul + "no ends")), "unknown form"},
      {Png(Chunk("iTXt", key + kNul + kNul + kNul + kNul + "\xFF")), "UTF-8"},
  };
  for (const auto& [png, what] : cases) {
    const std::string text = Text(png);
    EXPECT_TRUE(text.starts_with("error: ")) << text.substr(0, 80);
    EXPECT_NE(text.find(what), std::string::npos) << what << " / " << text.substr(0, 80);
    EXPECT_EQ(text.find('\n'), std::string::npos);
  }
}

TEST(PngTextTest, ReadsNoByteBeyondAnyCut) {
  const std::string good = Png(Chunk(
      "iTXt", "parameters" + kNul + "\1" + kNul + kNul + kNul + Packed(std::string(500, 'a'))));
  for (size_t size = 0; size < good.size(); ++size) {
    // Its own block of memory, so that a sanitizer sees a byte too many.
    const std::string cut(good.data(), size);
    const bool has_text = size >= good.size() - kEnd.size();
    EXPECT_EQ(ParametersTextOfPng(cut).ok(), has_text) << size;
  }
}

}  // namespace
}  // namespace tightfit::client
