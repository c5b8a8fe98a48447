// Weight files made to mislead, beside those of safetensors_test.cc: every one is refused quickly,
// with little memory, and with a reason.
#include "server/model/model_directory.h"
#include "server/model/safetensors.h"
#include "server/model/sha256.h"
#include "tests/unit/model/refusal.h"
#include "tests/unit/model/safetensors_writer.h"
#include "tests/unit/model/temporary_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

namespace tightfit {
namespace {

using ::testing::HasSubstr;

constexpr char kFile[] = "w.safetensors";
constexpr char kGood[] = R"("dtype":"F16","shape":[2],"data_offsets":[0,4])";

struct HostileFile {
  const char* what;
  std::string bytes;
  const char* expected;  // within the message
  // Bytes of heap for each of the file; the parser keeps one token several times.
  size_t heap_factor = 2;
};

// A file whose header says that it has `claimed_bytes`.
std::string WithHeaderSize(uint64_t claimed_bytes, std::string_view header,
                           std::string_view data = "wxyz") {
  std::string bytes = SafetensorsBytes(header, data);
  std::memcpy(bytes.data(), &claimed_bytes, sizeof(claimed_bytes));
  return bytes;
}

// A file of one tensor "a" of 4 bytes with these fields.
std::string Entry(std::string_view fields, std::string_view data = "wxyz") {
  return SafetensorsBytes(std::string("{\"a\":{").append(fields).append("}}"), data);
}

std::string Named(std::string_view name) {
  return SafetensorsBytes(std::string("{\"").append(name).append("\":{").append(kGood) + "}}",
                          "wxyz");
}

std::string Sized(std::string_view shape, std::string_view offsets) {
  return Entry(std::string(R"("dtype":"F16","shape":)").append(shape) +
               std::string(R"(,"data_offsets":)").append(offsets));
}

std::vector<HostileFile> HostileFiles() {
  const std::string good = std::string("{\"a\":{") + kGood + "}}";
  const auto nul = [](std::string text, size_t at) { return text.insert(at, 1, '\0'); };
  return {
      {"no header", WithHeaderSize(0, "", ""), "'{'"},
      {"a header of 0 bytes before a good one", WithHeaderSize(0, good), "'{'"},
      {"a header one byte short", WithHeaderSize(good.size() - 1, good), "not valid JSON"},
      {"a header one byte into the data", WithHeaderSize(good.size() + 1, good), "not valid JSON"},
      {"a header that is all the file", WithHeaderSize(good.size() + 4, good), "not valid JSON"},
      {"a header one byte past the file", WithHeaderSize(good.size() + 5, good), "within its"},
      {"a header of 2^63 bytes", WithHeaderSize(uint64_t{1} << 63, good), "16 MiB"},
      {"a header of 2^64 - 1 bytes", WithHeaderSize(~uint64_t{0}, good), "16 MiB"},
      {"a header of 2^64 - 8 bytes", WithHeaderSize(~uint64_t{7}, good), "16 MiB"},
      {"a header of 2^32 + its size", WithHeaderSize((uint64_t{1} << 32) + good.size(), good),
       "16 MiB"},
      {"a header size in big-endian", WithHeaderSize(uint64_t{good.size()} << 56, good), "16 MiB"},
      {"NUL before the header", SafetensorsBytes(nul(good, 0), "wxyz"), "'{'"},
      {"NUL behind the header", SafetensorsBytes(nul(good, good.size()), "wxyz"), "not valid JSON"},
      {"NUL and a second header", SafetensorsBytes(nul(good + good, good.size()), "wxyz"),
       "not valid JSON"},
      {"NUL within a name", SafetensorsBytes(nul(good, 3), "wxyz"), "not valid JSON"},
      {"NUL within a number", SafetensorsBytes(nul(good, good.size() - 4), "wxyz"),
       "not valid JSON"},
      {"a name that spells NUL", Named(R"(a\u0000b)"), "control character"},
      {"a name that spells escape", Named(R"(a\u001b[31m)"), "control character"},
      {"DEL in a name", Named("a\x7f"), "control character"},
      {"a C1 control in a name", Named("a\xC2\x85"), "control character"},
      {"a lone surrogate in a name", Named(R"(a\ud800)"), "not valid JSON"},
      {"overlong UTF-8 in a name", Named("a\xC0\x80"), "not valid JSON"},
      {"UTF-8 beyond Unicode in a name", Named("a\xF5\x80\x80\x80"), "not valid JSON"},
      {"UTF-8 cut off in a name", Named("a\xE2\x82"), "not valid JSON"},
      {"a byte order mark", SafetensorsBytes("\xEF\xBB\xBF" + good, "wxyz"), "'{'"},
      {"one name spelled in two ways",
       SafetensorsBytes(std::string(R"({"a":{)") + kGood + R"(},"\u0061":{)" + kGood + "}}",
                        "wxyz"),
       "occurs twice"},
      {"one key spelled in two ways", Entry(std::string(kGood) + R"(,"d\u0074ype":"F16")"),
       "occurs twice"},
      {"a trailing comma", Entry(std::string(kGood) + ","), "not valid JSON"},
      {"a leading zero", Sized("[02]", "[0,4]"), "not valid JSON"},
      {"a plus sign", Sized("[+2]", "[0,4]"), "not valid JSON"},
      {"a hexadecimal number", Sized("[0x2]", "[0,4]"), "not valid JSON"},
      {"NaN", Sized("[NaN]", "[0,4]"), "not valid JSON"},
      {"Infinity", Sized("[2]", "[0,Infinity]"), "not valid JSON"},
      {"minus zero", Sized("[-0]", "[0,4]"), "negative"},
      {"a dimension of 2^63", Sized("[9223372036854775808]", "[0,4]"), "above 2^31"},
      {"a dimension of 2^64 - 1", Sized("[18446744073709551615]", "[0,4]"), "above 2^31"},
      {"a dimension of 10^400", Sized("[1" + std::string(400, '0') + "]", "[0,4]"), "not"},
      {"a number of 100 000 digits", Sized("[" + std::string(100000, '9') + "]", "[0,4]"), "not",
       10},
      {"offsets of 2^64 - 4", Sized("[2]", "[18446744073709551612,18446744073709551616]"),
       "out of range"},
      {"offsets near 2^62", Sized("[2]", "[4611686018427387900,4611686018427387904]"), "a hole"},
      {"an offset beyond 2^62", Sized("[2]", "[4611686018427387901,4611686018427387905]"),
       "out of range"},
      {"2 EiB in one tensor", Sized("[2147483647,1073741824]", "[0,4611686016279904256]"),
       "ends within"},
      {"a shape within a shape", Sized("[[2]]", "[0,4]"), "a list stands"},
      {"a shape with null", Sized("[null]", "[0,4]"), "null"},
      {"a dimension of 0 with data", Sized("[0]", "[0,4]"), "make 0"},
      {"an empty tensor in another's middle",
       SafetensorsBytes(std::string(R"({"a":{)") + kGood +
                            R"(},"e":{"dtype":"F16","shape":[0],"data_offsets":[2,2]}})",
                        "wxyz"),
       "overlaps"},
      {"an empty tensor past the end",
       SafetensorsBytes(std::string(R"({"a":{)") + kGood +
                            R"(},"e":{"dtype":"F16","shape":[0],"data_offsets":[8,8]}})",
                        "wxyz"),
       "a hole"},
      {"one byte too many behind the data", SafetensorsBytes(good, "wxyz!"), "belong to none"},
      {"another file behind the data", SafetensorsBytes(good, "wxyz" + SafetensorsBytes(good, "")),
       "belong to none"},
      {"a pickle", "\x80\x02}q\x01." + std::string(60, 'x'), "16 MiB"},
      {"a zip archive", std::string("PK\x03\x04\x14\0\0\0", 8) + std::string(60, 'x'), "16 MiB"},
      {"a GGUF file", std::string("GGUF\x03\0\0\0", 8) + std::string(60, 'x'), "16 MiB"},
      {"a pointer of Git LFS", "version https://git-lfs.github.com/spec/v1\n", "16 MiB"},
      {"dtype F8_E4M3", Entry(R"("dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4])"),
       "is not F16"},
      {"dtype with NUL", Entry(R"("dtype":"F16\u0000","shape":[2],"data_offsets":[0,4])"),
       "is not F16"},
      {"metadata with an object", SafetensorsBytes(R"({"__metadata__":{"x":{}}})", ""),
       "an object stands"},
      {"metadata that is a text", SafetensorsBytes(R"({"__metadata__":"x"})", ""), "a text stands"},
  };
}

Status Open(const std::string& path) { return SafetensorsFile::Open(path, kFile).status(); }

TEST(HostileSafetensorsTest, AreRefusedQuicklyWithAReasonAndTwiceTheirHeaderOfMemory) {
  const TemporaryDirectory directory;
  for (const HostileFile& hostile : HostileFiles()) {
    const std::string path = directory.Write(kFile, hostile.bytes);
    const Status status = ExpectRefusal(hostile.what, hostile.heap_factor * hostile.bytes.size(),
                                        [&] { return Open(path); });
    EXPECT_THAT(status.message(), HasSubstr(hostile.expected)) << hostile.what;
    EXPECT_THAT(status.message(), HasSubstr(kFile)) << hostile.what;
    EXPECT_THAT(status.reason(), testing::AnyOf("BAD_MODEL_DIRECTORY", "FILE_TRUNCATED"))
        << hostile.what;
  }
  EXPECT_TRUE(Open(directory.Write(kFile, Entry(kGood))).ok()) << "a good file after all of them";
}

TEST(HostileSafetensorsTest, LargestHeadersAreRefusedWithinABoundOfMemory) {
  const TemporaryDirectory directory;
  // As many tensors as there may be, and one more; and 16 MiB of one name.
  std::string many = "{";
  for (int i = 0; i <= kMaxSafetensorsTensors; ++i) {
    many += '"' + std::to_string(i) + R"(":{"dtype":"F16","shape":[],"data_offsets":[0,2]},)";
  }
  const std::string name = "{\"" + std::string(kMaxSafetensorsHeaderBytes - 10, 'n') + "\":{}}  ";
  for (const std::string& header : {many, name}) {
    const std::string path = directory.Write(kFile, SafetensorsBytes(header, ""));
    ResetHeapUse();
    EXPECT_FALSE(Open(path).ok());
    std::printf("%zu bytes of header: %zu of heap\n", header.size(), PeakHeapBytes());
    EXPECT_LE(PeakHeapBytes(), std::min(8 * header.size(), size_t{96} << 20));
  }
}

class FlippedByteTest : public ::testing::Test {
 protected:
  FlippedByteTest() {
    SafetensorsWriter writer;
    writer.Add("conv.weight", "F16", {2, 2}, "abcdefgh");
    writer.Add("conv.bias", "F32", {1}, "wxyz");
    whole_ = writer.Bytes();
    std::memcpy(&header_bytes_, whole_.data(), sizeof(header_bytes_));
    model_.path = directory_.path();
    listed_ = {.file = kFile,
               .bytes = static_cast<int64_t>(whole_.size()),
               .sha256 = Sha256::HexDigestOf(whole_)};
  }
  // Whatever the header still means, the file is not the one that model.json lists.
  void ExpectRefusedByItsHash(const std::string& bytes) {
    directory_.Write(kFile, bytes);
    const Status status = CheckListedFile(model_.path, listed_, {});
    EXPECT_EQ(status.reason(), "CHECKSUM_MISMATCH");
  }

  TemporaryDirectory directory_;
  ModelDirectory model_;
  ListedFile listed_;
  std::string whole_;
  uint64_t header_bytes_ = 0;
};

TEST_F(FlippedByteTest, EveryOtherByteOfAHeaderIsRefusedOrAnotherValidIndexThatTheHashRefuses) {
  int refused = 0;
  int valid = 0;
  const auto data_bytes = static_cast<int64_t>(whole_.size() - 8 - header_bytes_);
  for (size_t at = 8; at < 8 + header_bytes_; ++at) {
    for (int difference = 1; difference < 256; ++difference) {
      std::string bytes = whole_;
      bytes[at] = static_cast<char>(bytes[at] ^ difference);
      const std::string_view header = std::string_view(bytes).substr(8, header_bytes_);
      const auto tensors = ParseSafetensorsHeader(kFile, header, 0, data_bytes);
      if (!tensors.ok()) {
        ++refused;
        ASSERT_FALSE(tensors.status().message().empty());
        continue;
      }
      ++valid;
      int64_t end = 0;
      for (const StoredTensor& tensor : *tensors) {
        ASSERT_EQ(tensor.offset_bytes, end);
        end += tensor.size_bytes;
      }
      ASSERT_EQ(end, data_bytes);
      if (valid % 64 == 0) ExpectRefusedByItsHash(bytes);
    }
  }
  EXPECT_GT(refused, 20000);
  EXPECT_GT(valid, 0) << "another name of a tensor is valid";
  ExpectRefusedByItsHash(whole_.substr(0, 9) + "x" + whole_.substr(10));
}

TEST_F(FlippedByteTest, EveryOtherHeaderSizeIsRefused) {
  for (size_t at = 0; at < sizeof(header_bytes_); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string bytes = whole_;
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << bit));
      const std::string path = directory_.Write(kFile, bytes);
      ASSERT_FALSE(Open(path).ok()) << at << " " << bit;
    }
  }
}

TEST_F(FlippedByteTest, EveryByteOfTheDataIsRefusedByTheHash) {
  for (size_t at = 8 + header_bytes_; at < whole_.size(); ++at) {
    std::string bytes = whole_;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << (at % 8)));
    ExpectRefusedByItsHash(bytes);
  }
}

}  // namespace
}  // namespace tightfit
