#include "client/cpp/image_assembler.h"

#include "client/cpp/generation_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace tightfit::client {
namespace {

using ::testing::HasSubstr;

ImageChunk Chunk(int32_t index, int64_t offset, const std::string& content, int64_t total,
                 bool last) {
  return {.image_index = index,
          .offset_bytes = offset,
          .content = content,
          .last = last,
          .total_bytes = total,
          .mime_type = "image/png"};
}

void ExpectBroken(const Status& status, const std::string& what) {
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_EQ(status.reason(), kBrokenStream);
  EXPECT_THAT(status.message(), HasSubstr(what));
}

// Adds a chunk that must be accepted without completing its image.
void AddPart(ImageAssembler& assembler, ImageChunk chunk) {
  const auto image = assembler.Add(std::move(chunk));
  ASSERT_TRUE(image.ok()) << image.status().message();
  ASSERT_FALSE(image->has_value());
}

TEST(ImageAssemblerTest, JoinsChunksInOrder) {
  ImageAssembler assembler(100, 3);
  AddPart(assembler, Chunk(2, 0, "ab", 5, false));
  AddPart(assembler, Chunk(2, 2, "cd", 5, false));
  const auto image = assembler.Add(Chunk(2, 4, "e", 5, true));
  ASSERT_TRUE(image.ok() && image->has_value());
  EXPECT_EQ((*image)->content, "abcde");
  EXPECT_EQ((*image)->index, 2);
  EXPECT_EQ((*image)->seed, 102);
  EXPECT_EQ((*image)->mime_type, "image/png");
}

TEST(ImageAssemblerTest, KeepsInterleavedImagesApart) {
  ImageAssembler assembler(0, 2);
  AddPart(assembler, Chunk(0, 0, "aa", 4, false));
  AddPart(assembler, Chunk(1, 0, "xx", 4, false));
  EXPECT_EQ(assembler.Add(Chunk(1, 2, "yy", 4, true))->value().content, "xxyy");
  EXPECT_EQ(assembler.Add(Chunk(0, 2, "bb", 4, true))->value().content, "aabb");
  EXPECT_TRUE(assembler.CheckComplete().ok());
}

TEST(ImageAssemblerTest, RefusesAGap) {
  ImageAssembler assembler(0, 1);
  AddPart(assembler, Chunk(0, 0, "ab", 6, false));
  ExpectBroken(assembler.Add(Chunk(0, 4, "ef", 6, true)).status(), "byte 4 where byte 2 was due");
}

TEST(ImageAssemblerTest, RefusesARepeatedChunk) {
  ImageAssembler assembler(0, 1);
  AddPart(assembler, Chunk(0, 0, "ab", 6, false));
  ExpectBroken(assembler.Add(Chunk(0, 0, "ab", 6, false)).status(), "byte 0 where byte 2 was due");
}

TEST(ImageAssemblerTest, RefusesAnImageThatEndsShort) {
  ImageAssembler assembler(0, 1);
  ExpectBroken(assembler.Add(Chunk(0, 0, "ab", 3, true)).status(), "2 of 3 bytes");
}

TEST(ImageAssemblerTest, RefusesMoreBytesThanAnnounced) {
  ImageAssembler assembler(0, 1);
  AddPart(assembler, Chunk(0, 0, "ab", 3, false));
  ExpectBroken(assembler.Add(Chunk(0, 2, "cd", 3, false)).status(), "more came");
}

TEST(ImageAssemblerTest, RefusesAChunkAfterTheLast) {
  ImageAssembler assembler(0, 1);
  ASSERT_TRUE(assembler.Add(Chunk(0, 0, "ab", 2, true)).ok());
  ExpectBroken(assembler.Add(Chunk(0, 2, "", 2, true)).status(), "after its last");
}

TEST(ImageAssemblerTest, RefusesIndexesOutsideTheRequest) {
  ImageAssembler assembler(0, 2);
  ExpectBroken(assembler.Add(Chunk(2, 0, "a", 1, true)).status(), "index");
  ExpectBroken(assembler.Add(Chunk(-1, 0, "a", 1, true)).status(), "index");
}

TEST(ImageAssemblerTest, RefusesImpossibleSizes) {
  ImageAssembler assembler(0, 1);
  ExpectBroken(assembler.Add(Chunk(0, 0, "a", 0, false)).status(), "0 bytes");
  ExpectBroken(assembler.Add(Chunk(0, 0, "a", -5, false)).status(), "-5 bytes");
  ExpectBroken(assembler.Add(Chunk(0, 0, "a", ImageAssembler::kMaxImageBytes + 1, false)).status(),
               "size");
}

TEST(ImageAssemblerTest, RefusesASizeThatChanges) {
  ImageAssembler assembler(0, 1);
  AddPart(assembler, Chunk(0, 0, "a", 5, false));
  ExpectBroken(assembler.Add(Chunk(0, 1, "b", 6, false)).status(), "size changed");
}

TEST(ImageAssemblerTest, NamesTheImageThatNeverCameWhole) {
  ImageAssembler assembler(0, 3);
  ASSERT_TRUE(assembler.Add(Chunk(0, 0, "a", 1, true)).ok());
  AddPart(assembler, Chunk(1, 0, "a", 2, false));
  ExpectBroken(assembler.CheckComplete(), "image 1");
}

}  // namespace
}  // namespace tightfit::client
