#include "server/model/safetensors.h"

#include "tests/unit/model/heap_use.h"
#include "tests/unit/model/safetensors_writer.h"
#include "tests/unit/model/temporary_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tightfit {
namespace {

using ::testing::HasSubstr;

constexpr char kFile[] = "w.safetensors";

Result<std::vector<StoredTensor>> Parse(std::string_view header, int64_t data_bytes) {
  return ParseSafetensorsHeader(kFile, header, 100, data_bytes);
}

TEST(SafetensorsHeaderTest, GivesTensorsInFileOrderWithAbsoluteOffsets) {
  const auto tensors = Parse(R"({"b":{"dtype":"F32","shape":[2,3],"data_offsets":[8,32]},)"
                             R"("__metadata__":{"format":"pt"},)"
                             R"("a":{"dtype":"F16","shape":[4],"data_offsets":[0,8]},)"
                             R"("scalar":{"shape":[],"dtype":"BF16","data_offsets":[32,34]}}   )",
                             34);
  ASSERT_TRUE(tensors.ok()) << tensors.status().ForLog();
  ASSERT_EQ((*tensors).size(), 3u);
  const StoredTensor& a = (*tensors)[0];
  EXPECT_EQ(a.name, "a");
  EXPECT_EQ(a.dtype, StoredDtype::kF16);
  EXPECT_EQ(a.offset_bytes, 100);
  EXPECT_EQ(a.size_bytes, 8);
  const StoredTensor& b = (*tensors)[1];
  EXPECT_EQ(b.name, "b");
  EXPECT_EQ(b.shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(b.element_count, 6);
  EXPECT_EQ(b.offset_bytes, 108);
  EXPECT_EQ((*tensors)[2].dtype, StoredDtype::kBF16);
  EXPECT_EQ((*tensors)[2].element_count, 1);
}

TEST(SafetensorsHeaderTest, AcceptsEmptyTensorsAndAnEmptyFile) {
  EXPECT_TRUE(Parse("{}", 0).ok());
  const auto tensors = Parse(R"({"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},)"
                             R"("z":{"dtype":"F16","shape":[0,2147483647],"data_offsets":[2,2]},)"
                             R"("b":{"dtype":"F16","shape":[1],"data_offsets":[2,4]}})",
                             4);
  ASSERT_TRUE(tensors.ok()) << tensors.status().ForLog();
  EXPECT_EQ((*tensors)[1].name, "z");
}

TEST(SafetensorsHeaderTest, TakesMetadataThatIsNullForNone) {
  const auto tensors = Parse(R"({"__metadata__":null,)"
                             R"("a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}})",
                             2);
  ASSERT_TRUE(tensors.ok()) << tensors.status().ForLog();
  ASSERT_EQ((*tensors).size(), 1u);
  EXPECT_EQ((*tensors)[0].name, "a");
}

struct HostileHeader {
  const char* what;
  std::string header;
  const char* expected;  // within the message
};

std::string Tensor(std::string_view fields) {
  return std::string("{\"a\":{").append(fields).append("}}");
}

// The data of each is 4 bytes: two values of F16.
std::vector<HostileHeader> HostileHeaders() {
  const std::string good = R"("dtype":"F16","shape":[2],"data_offsets":[0,4])";
  const std::string deep(100000, '[');
  return {
      {"nothing", "", "'{'"},
      {"a space before it", " {}", "'{'"},
      {"a list", "[]", "'{'"},
      {"cut off", "{\"a\":{\"dtype\":\"F16\"", "not valid JSON"},
      {"text after it", Tensor(good) + "x", "not valid JSON"},
      {"a second document", Tensor(good) + "{}", "not valid JSON"},
      {"invalid UTF-8", "{\"\xff\xfe\":{" + good + "}}", "not valid JSON"},
      {"a comment", "{/*x*/}", "not valid JSON"},
      {"a tensor that is a number", "{\"a\":4}", "a number stands"},
      {"a tensor that is null", "{\"a\":null}", "null"},
      {"a tensor that is a list", "{\"a\":[1]}", "a list stands"},
      {"a boolean", Tensor(R"("dtype":true)"), "a boolean"},
      {"an object within a tensor", Tensor(R"("dtype":{"x":1})"), "an object stands"},
      {"deep nesting", "{\"a\":" + deep, "a list stands"},
      {"deep nesting in a shape", Tensor("\"shape\":" + deep), "a list stands"},
      {"an unknown key", Tensor(good + R"(,"x":1)"), "unknown key"},
      {"the same key twice", Tensor(good + R"(,"shape":[2])"), "occurs twice"},
      {"the same tensor twice", "{\"a\":{" + good + "},\"a\":{" + good + "}}", "occurs twice"},
      {"metadata twice", R"({"__metadata__":{},"__metadata__":{}})", "occurs twice"},
      {"metadata that is null twice", R"({"__metadata__":null,"__metadata__":null})",
       "occurs twice"},
      {"metadata that is a number", R"({"__metadata__":{"x":1}})", "a number stands"},
      {"metadata that holds null", R"({"__metadata__":{"x":null}})", "null"},
      {"an empty name", "{\"\":{" + good + "}}", "empty name"},
      {"a long name", "{\"" + std::string(513, 'n') + "\":{" + good + "}}", "longer than 512"},
      {"a newline in a name", "{\"a\\n\":{" + good + "}}", "control character"},
      {"no dtype", Tensor(R"("shape":[2],"data_offsets":[0,4])"), "dtype is missing"},
      {"no shape", Tensor(R"("dtype":"F16","data_offsets":[0,4])"), "shape is missing"},
      {"no offsets", Tensor(R"("dtype":"F16","shape":[2])"), "data_offsets"},
      {"dtype I64", Tensor(R"("dtype":"I64","shape":[2],"data_offsets":[0,4])"), "is not F16"},
      {"dtype f16", Tensor(R"("dtype":"f16","shape":[2],"data_offsets":[0,4])"), "is not F16"},
      {"a shape that is a text", Tensor(R"("dtype":"F16","shape":"2")"), "a text stands"},
      {"six dimensions", Tensor(R"("dtype":"F16","shape":[1,1,1,1,1,2],"data_offsets":[0,4])"),
       "more than 5"},
      {"a negative dimension", Tensor(R"("dtype":"F16","shape":[-2],"data_offsets":[0,4])"),
       "negative"},
      {"a fractional dimension", Tensor(R"("dtype":"F16","shape":[2.0],"data_offsets":[0,4])"),
       "not an integer"},
      {"an exponent", Tensor(R"("dtype":"F16","shape":[2e0],"data_offsets":[0,4])"),
       "not an integer"},
      {"a dimension of 2^31", Tensor(R"("dtype":"F16","shape":[2147483648],"data_offsets":[0,4])"),
       "above 2^31"},
      {"a dimension beyond 64 bits",
       Tensor(R"("dtype":"F16","shape":[99999999999999999999],"data_offsets":[0,4])"),
       "not an integer"},
      {"a product that overflows",
       Tensor(R"("dtype":"F16","shape":[2147483647,2147483647,4],"data_offsets":[0,4])"),
       "too large"},
      {"a product that wraps around to 4",
       Tensor(R"("dtype":"F16","shape":[65536,65536,65536,65536,2],"data_offsets":[0,4])"),
       "too large"},
      {"one offset", Tensor(R"("dtype":"F16","shape":[2],"data_offsets":[0])"), "two numbers"},
      {"three offsets", Tensor(R"("dtype":"F16","shape":[2],"data_offsets":[0,4,8])"),
       "two numbers"},
      {"offsets in the wrong order", Tensor(R"("dtype":"F16","shape":[2],"data_offsets":[4,0])"),
       "ends before"},
      {"a negative offset", Tensor(R"("dtype":"F16","shape":[2],"data_offsets":[-4,0])"),
       "negative"},
      {"an offset of 2^63",
       Tensor(R"("dtype":"F16","shape":[2],"data_offsets":[0,9223372036854775808])"),
       "out of range"},
      {"a size that is not the shape's",
       Tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])"), "shape and dtype make 8"},
      {"a hole at the start", Tensor(R"("dtype":"F16","shape":[1],"data_offsets":[2,4])"),
       "a hole"},
      {"bytes after the last tensor", Tensor(R"("dtype":"F16","shape":[1],"data_offsets":[0,2])"),
       "belong to none"},
      {"an overlap",
       R"({"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},)"
       R"("b":{"dtype":"F16","shape":[1],"data_offsets":[2,4]}})",
       "overlaps"},
      {"two names for the same bytes",
       R"({"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},)"
       R"("b":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}})",
       "overlaps"},
      {"only metadata", R"({"__metadata__":{"format":"pt"}})", "belong to none"},
  };
}

TEST(SafetensorsHeaderTest, RefusesHostileHeadersWithAReasonAndWithoutALargeAllocation) {
  for (const HostileHeader& hostile : HostileHeaders()) {
    ResetHeapUse();
    const auto tensors = Parse(hostile.header, 4);
    const size_t largest = LargestAllocation();
    ASSERT_FALSE(tensors.ok()) << hostile.what;
    EXPECT_EQ(tensors.status().code(), StatusCode::kFailedPrecondition) << hostile.what;
    EXPECT_EQ(tensors.status().reason(), "BAD_MODEL_DIRECTORY") << hostile.what;
    EXPECT_THAT(tensors.status().message(), HasSubstr(hostile.expected)) << hostile.what;
    EXPECT_THAT(tensors.status().message(), HasSubstr(kFile)) << hostile.what;
    EXPECT_LT(tensors.status().message().size(), 300u) << hostile.what;
    EXPECT_LT(largest, 64u * 1024 + 4 * hostile.header.size()) << hostile.what;
  }
}

TEST(SafetensorsHeaderTest, CallsAFileThatEndsWithinATensorTruncated) {
  const auto tensors = Parse(Tensor(R"("dtype":"F16","shape":[2],"data_offsets":[0,4])"), 3);
  ASSERT_FALSE(tensors.ok());
  EXPECT_EQ(tensors.status().code(), StatusCode::kDataLoss);
  EXPECT_EQ(tensors.status().reason(), "FILE_TRUNCATED");
  EXPECT_THAT(tensors.status().message(), HasSubstr(kFile));
}

TEST(SafetensorsHeaderTest, RefusesMoreThan65536Tensors) {
  const auto header_of = [](int count) {
    std::string header;
    for (int i = 0; i < count; ++i) {
      header.append(i == 0 ? "{\"" : ",\"").append(std::to_string(i));
      header.append(R"(":{"dtype":"F16","shape":[0],"data_offsets":[0,0]})");
    }
    return header + "}";
  };
  EXPECT_TRUE(Parse(header_of(65536), 0).ok());
  const auto tensors = Parse(header_of(65537), 0);
  ASSERT_FALSE(tensors.ok());
  EXPECT_THAT(tensors.status().message(), HasSubstr("65536"));
}

std::string SmallFile() {
  SafetensorsWriter writer;
  writer.Add("first", "F16", {2, 2}, "abcdefgh");
  writer.Add("second", "F32", {1}, "wxyz");
  return writer.Bytes();
}

TEST(SafetensorsFileTest, ReadsWhatWasWritten) {
  const TemporaryDirectory directory;
  const auto file = SafetensorsFile::Open(directory.Write(kFile, SmallFile()), kFile);
  ASSERT_TRUE(file.ok()) << file.status().ForLog();
  ASSERT_EQ((*file)->tensors().size(), 2u);
  const StoredTensor& second = (*file)->tensors()[1];
  std::string data(static_cast<size_t>(second.size_bytes), '\0');
  ASSERT_TRUE((*file)->reader().ReadAt(second.offset_bytes, second.size_bytes, data.data()).ok());
  EXPECT_EQ(data, "wxyz");
  EXPECT_EQ((*file)->size_bytes(), static_cast<int64_t>(SmallFile().size()));
}

TEST(SafetensorsFileTest, RefusesEveryTruncation) {
  const TemporaryDirectory directory;
  const std::string whole = SmallFile();
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::string path = directory.Write(kFile, std::string_view(whole).substr(0, size));
    ResetHeapUse();
    const auto file = SafetensorsFile::Open(path, kFile);
    EXPECT_LT(LargestAllocation(), 64u * 1024) << "cut after " << size << " bytes";
    ASSERT_FALSE(file.ok()) << "cut after " << size << " bytes";
    EXPECT_EQ(file.status().reason(), "FILE_TRUNCATED") << "cut after " << size << " bytes";
    EXPECT_EQ(file.status().code(), StatusCode::kDataLoss);
    EXPECT_THAT(file.status().message(), HasSubstr(kFile));
  }
}

TEST(SafetensorsFileTest, RefusesAHeaderSizeThatTheFileCannotHold) {
  const TemporaryDirectory directory;
  for (const uint64_t size : {uint64_t{100}, uint64_t{16} << 20, (uint64_t{16} << 20) + 1,
                              uint64_t{1} << 63, ~uint64_t{0}, ~uint64_t{7}}) {
    std::string bytes = SmallFile().substr(0, 60);
    std::memcpy(bytes.data(), &size, sizeof(size));
    const std::string path = directory.Write(kFile, bytes);
    ResetHeapUse();
    const auto file = SafetensorsFile::Open(path, kFile);
    EXPECT_LT(LargestAllocation(), 64u * 1024) << size;
    ASSERT_FALSE(file.ok()) << size;
  }
}

TEST(SafetensorsFileTest, NamesAMissingFileWithoutItsPath) {
  const TemporaryDirectory directory;
  const auto file = SafetensorsFile::Open(directory.path() + "/" + kFile, kFile);
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(file.status().reason(), "FILE_MISSING");
  EXPECT_THAT(file.status().message(), HasSubstr(kFile));
  EXPECT_EQ(file.status().message().find(directory.path()), std::string::npos);
  EXPECT_THAT(file.status().detail(), HasSubstr(directory.path()));
}

TEST(SafetensorsFileTest, RefusesADirectory) {
  const TemporaryDirectory directory;
  const auto file = SafetensorsFile::Open(directory.path(), kFile);
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(file.status().reason(), "FILE_MISSING");
}

TEST(FileReaderTest, ReportsAFileThatShrankWhileOpen) {
  const TemporaryDirectory directory;
  const std::string path = directory.Write(kFile, SmallFile());
  const auto file = SafetensorsFile::Open(path, kFile);
  ASSERT_TRUE(file.ok());
  std::filesystem::resize_file(path, 10);
  char byte = 0;
  const Status read = (*file)->reader().ReadAt((*file)->size_bytes() - 1, 1, &byte);
  EXPECT_EQ(read.reason(), "FILE_TRUNCATED");
}

}  // namespace
}  // namespace tightfit
