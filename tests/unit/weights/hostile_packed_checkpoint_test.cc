// Packed checkpoints made to mislead: every one is refused by name, before anything is allocated
// that its header and index do not account for.
#include "server/model/sha256.h"
#include "server/weights/packed_checkpoint.h"
#include "tests/unit/model/refusal.h"
#include "tests/unit/model/safetensors_writer.h"
#include "tests/unit/model/temporary_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

constexpr char kFile[] = "p.safetensors";

struct HostileTensor {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};

// Two packed tensors of hf8 and a dense one between them, with their index.
struct HostileCheckpoint {
  HostileCheckpoint() {
    tensors = {{"tightfit.headers", "U8", {2, 128}, ""},
               {"tightfit.sha256", "U8", {3, 32}, ""},
               {"a.weight", "U8", {64}, std::string(64, 'a')},
               {"b.bias", "F16", {2}, "wxyz"},
               {"c.weight", "U8", {96}, std::string(96, 'c')}};
    tensors[0].bytes = Header({4, 1, 1, 16}, tensors[2].bytes) + Header({6, 16}, tensors[4].bytes);
    for (size_t i = 2; i < tensors.size(); ++i) tensors[1].bytes += DigestOf(tensors[i].bytes);
  }

  static std::string DigestOf(const std::string& bytes) {
    Sha256 sha256;
    sha256.Update(bytes.data(), bytes.size());
    const auto digest = sha256.Digest();
    return {digest.begin(), digest.end()};
  }

  static std::string Header(const std::vector<int64_t>& shape, const std::string& codes) {
    PackedHeader header{.rank = static_cast<int>(shape.size())};
    std::copy(shape.begin(), shape.end(), header.shape.begin());
    const auto size = PackedRowsAndColumns(shape);
    header.layout = LayoutOf(WeightFormat::kHf8, size->rows, size->columns);
    const std::string digest = DigestOf(codes);
    std::copy(digest.begin(), digest.end(), header.sha256.begin());
    std::array<uint8_t, kPackedHeaderBytes> bytes;
    SerializePackedHeader(header, bytes);
    return {bytes.begin(), bytes.end()};
  }

  // Sets bytes of the first header and gives it a right checksum.
  void SetHeaderBytes(size_t at, const std::string& value) {
    std::string& headers = tensors[0].bytes;
    headers.replace(at, value.size(), value);
    uint32_t crc = ~0u;
    for (size_t i = 0; i < 124; ++i) {
      crc ^= static_cast<unsigned char>(headers[i]);
      for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) * 0xEDB88320u);
    }
    crc = ~crc;
    std::memcpy(headers.data() + 124, &crc, 4);
  }

  // And the digest that model.json would have of it: of everything up to the end of the second
  // tensor.
  std::pair<std::string, std::string> BytesAndDigest() const {
    SafetensorsWriter writer;
    size_t data_bytes = 0;
    size_t index_bytes = 0;
    for (size_t i = 0; i < tensors.size(); ++i) {
      const HostileTensor& tensor = tensors[i];
      writer.Add(tensor.name, tensor.dtype, tensor.shape, tensor.bytes);
      data_bytes += tensor.bytes.size();
      if (i < 2) index_bytes += tensor.bytes.size();
    }
    const std::string bytes = writer.Bytes();
    return {bytes, Sha256::HexDigestOf(bytes.substr(0, bytes.size() - data_bytes + index_bytes))};
  }

  std::vector<HostileTensor> tensors;
};

struct Trick {
  const char* what;
  std::function<void(HostileCheckpoint*)> play;
  const char* expected;  // within the message
};

std::vector<Trick> Tricks() {
  using H = HostileCheckpoint;
  const auto field = [](size_t at, const std::string& value) {
    return [at, value](H* h) { h->SetHeaderBytes(at, value); };
  };
  const std::string huge(8, '\x7f');
  return {
      {"no index", [](H* h) { h->tensors.erase(h->tensors.begin(), h->tensors.begin() + 2); },
       "\"tightfit.headers\" is not where it must be"},
      {"headers without digests", [](H* h) { h->tensors.erase(h->tensors.begin() + 1); },
       "\"tightfit.sha256\" is not where it must be"},
      {"digests first", [](H* h) { std::swap(h->tensors[0], h->tensors[1]); },
       "\"tightfit.headers\" is not where it must be"},
      {"a weight before the index",
       [](H* h) { std::rotate(h->tensors.begin(), h->tensors.begin() + 2, h->tensors.end()); },
       "\"tightfit.headers\" is not where it must be"},
      {"nothing but the name of an index",
       [](H* h) {
         h->tensors = {{"tightfit.headers", "U8", {0, 128}, ""}};
       },
       "\"tightfit.sha256\" is not where it must be"},
      {"no tensor at all", [](H* h) { h->tensors.clear(); }, "is not where it must be"},
      {"headers in fp16",
       [](H* h) {
         h->tensors[0].dtype = "F16";
         h->tensors[0].shape = {1, 128};
       },
       "must be U8 of rows of 128"},
      {"headers in one row", [](H* h) { h->tensors[0].shape = {256}; }, "rows of 128"},
      {"headers of 64 bytes",
       [](H* h) {
         h->tensors[0].shape = {4, 64};
       },
       "rows of 128"},
      {"headers of three dimensions",
       [](H* h) {
         h->tensors[0].shape = {2, 2, 64};
       },
       "rows of 128"},
      {"digests of 16 bytes",
       [](H* h) {
         h->tensors[1].shape = {6, 16};
       },
       "rows of 32"},
      {"a header too few",
       [](H* h) {
         h->tensors[0].shape = {1, 128};
         h->tensors[0].bytes.resize(128);
       },
       "another number of tensors"},
      {"a header too many",
       [](H* h) {
         h->tensors[0].shape = {3, 128};
         h->tensors[0].bytes += H::Header({6, 16}, h->tensors[4].bytes);
       },
       "another number of tensors"},
      {"a digest too few",
       [](H* h) {
         h->tensors[1].shape = {2, 32};
         h->tensors[1].bytes.resize(64);
       },
       "another number of tensors"},
      {"a weight that no digest is of",
       [](H* h) {
         h->tensors.push_back({"d.bias", "F16", {1}, "de"});
       },
       "another number of tensors"},
      {"bytes that no header is of",
       [](H* h) {
         h->tensors[3].dtype = "U8";
         h->tensors[3].shape = {4};
       },
       "another number of tensors"},
      {"a packed weight that is said to be dense",
       [](H* h) {
         h->tensors[2].dtype = "F32";
         h->tensors[2].shape = {4, 4};
       },
       "another number of tensors"},
      {"one name twice", [](H* h) { h->tensors[4].name = "a.weight"; }, "occurs twice"},
      {"the index twice", [](H* h) { h->tensors[4].name = "tightfit.headers"; }, "occurs twice"},
      {"each header in the other's place",
       [](H* h) {
         std::rotate(h->tensors[0].bytes.begin(), h->tensors[0].bytes.begin() + 128,
                     h->tensors[0].bytes.end());
       },
       "\"a.weight\" is not the tensor of its header"},
      {"a header with another digest",
       [](H* h) {
         h->tensors[0].bytes.replace(0, 128, H::Header({4, 16}, "others"));
       },
       "\"a.weight\" is not the tensor of its header"},
      {"digests in another order",
       [](H* h) {
         std::rotate(h->tensors[1].bytes.begin(), h->tensors[1].bytes.begin() + 32,
                     h->tensors[1].bytes.end());
       },
       "\"a.weight\" is not the tensor of its header"},
      {"more codes than the header says",
       [](H* h) {
         h->tensors[2].bytes += std::string(16, 'a');
         h->tensors[2].shape = {80};
       },
       "\"a.weight\" is not the tensor of its header"},
      {"a header of zeros", [](H* h) { h->tensors[0].bytes.replace(0, 128, 128, '\0'); },
       "\"a.weight\": the file does not begin with TFPACKED"},
      {"a damaged header", [](H* h) { h->tensors[0].bytes[70] ^= 1; }, "checksum is wrong"},
      {"version 2", field(8, "\x02"), "version is not 1"},
      {"format 99", field(10, "\x63"), "format is not known"},
      {"five dimensions", field(12, "\x05"), "1 to 4 dimensions"},
      {"a dimension of 0", field(16, std::string(8, '\0')), "a dimension that is 0"},
      {"a dimension of 2^63", field(16, huge), "a dimension that is 0 or above"},
      {"2^40 weights", field(16, std::string("\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\0", 16)), "2^32 - 1"},
      {"a side list", field(48, "\x01"), "longer side list"},
      {"2^62 bytes of codes", field(56, huge), "another size"},
      {"order 2", field(96, "\x02"), "order of its codes is not known"},
      {"reserved bytes", field(100, "\x01"), "reserved bytes"},
  };
}

TEST(HostilePackedCheckpointTest, AreRefusedQuicklyWithAReasonAndTwiceTheirSizeOfMemory) {
  const TemporaryDirectory directory;
  for (const Trick& trick : Tricks()) {
    HostileCheckpoint checkpoint;
    trick.play(&checkpoint);
    const auto [bytes, digest] = checkpoint.BytesAndDigest();
    const std::string path = directory.Write(kFile, bytes);
    const Status status = ExpectRefusal(trick.what, 2 * bytes.size(), [&, &digest = digest] {
      return PackedCheckpoint::Open(path, kFile, digest).status();
    });
    EXPECT_THAT(status.message(), HasSubstr(trick.expected)) << trick.what;
    EXPECT_THAT(status.message(), HasSubstr(kFile)) << trick.what;
    EXPECT_EQ(status.reason(), "BAD_MODEL_DIRECTORY") << trick.what;
  }
  const auto [bytes, digest] = HostileCheckpoint().BytesAndDigest();
  const std::string path = directory.Write(kFile, bytes);
  EXPECT_TRUE(PackedCheckpoint::Open(path, kFile, digest).ok()) << "a good one after all of them";
}

TEST(HostilePackedCheckpointTest, OneThatEndsAnywhereIsRefused) {
  const TemporaryDirectory directory;
  const auto [bytes, digest] = HostileCheckpoint().BytesAndDigest();
  const std::string path = directory.Write(kFile, bytes);
  for (size_t length = bytes.size(); length-- > 0;) {
    std::filesystem::resize_file(path, length);
    const auto opened = PackedCheckpoint::Open(path, kFile, digest);
    EXPECT_THAT(opened.status().reason(), AnyOf("FILE_TRUNCATED", "BAD_MODEL_DIRECTORY")) << length;
    EXPECT_THAT(opened.status().message(), HasSubstr(kFile)) << length;
  }
}

TEST(HostilePackedCheckpointTest, OneThatIsCutOffAfterItWasOpenedIsRefusedByName) {
  const TemporaryDirectory directory;
  const auto [bytes, digest] = HostileCheckpoint().BytesAndDigest();
  const std::string path = directory.Write(kFile, bytes);
  const auto opened = PackedCheckpoint::Open(path, kFile, digest);
  ASSERT_TRUE(opened.ok());
  std::filesystem::resize_file(path, bytes.size() - 1);
  const CheckpointTensor& last = (*opened)->tensors().back();
  std::string out(static_cast<size_t>(last.stored.size_bytes), '\0');
  EXPECT_EQ((*opened)->Read(last, out.data()).reason(), "FILE_TRUNCATED");
}

TEST(HostilePackedCheckpointTest, AnIndexIsHeldAgainstTheDigestBeforeItIsBelieved) {
  const TemporaryDirectory directory;
  const auto [bytes, digest] = HostileCheckpoint().BytesAndDigest();
  const std::string path = directory.Write(kFile, bytes);
  std::string upper = digest;
  for (char& c : upper) c = static_cast<char>(std::toupper(c));
  for (const std::string& wrong : {std::string(), digest.substr(1), digest + "0", upper,
                                   std::string(64, '0'), Sha256::HexDigestOf(bytes)}) {
    EXPECT_EQ(PackedCheckpoint::Open(path, kFile, wrong).status().reason(), "CHECKSUM_MISMATCH");
  }
  // Headers that would be refused too, but first of all are not the ones of model.json.
  HostileCheckpoint other;
  other.SetHeaderBytes(96, "\x02");
  const std::string other_path = directory.Write(kFile, other.BytesAndDigest().first);
  EXPECT_EQ(PackedCheckpoint::Open(other_path, kFile, digest).status().reason(),
            "CHECKSUM_MISMATCH");
}

TEST(HostilePackedCheckpointTest, AHeaderThatClaimsATerabyteAllocatesNoneOfIt) {
  const TemporaryDirectory directory;
  const std::string header =
      R"({"tightfit.headers":{"dtype":"U8","shape":[2147483647,128],)"
      R"("data_offsets":[0,274877906816]},"tightfit.sha256":{"dtype":"U8","shape":[0,32],)"
      R"("data_offsets":[274877906816,274877906816]}})";
  const std::string path = directory.Write(kFile, SafetensorsBytes(header, "few"));
  const Status status = ExpectRefusal("a terabyte", 2 * header.size(), [&] {
    return PackedCheckpoint::Open(path, kFile, std::string(64, '0')).status();
  });
  EXPECT_EQ(status.reason(), "FILE_TRUNCATED");
  // The same with the bytes there, as a file with holes has them: it is of another number.
  std::filesystem::resize_file(path, 8 + header.size() + 274877906816);
  const Status sparse = ExpectRefusal("a sparse terabyte", 2 * header.size(), [&] {
    return PackedCheckpoint::Open(path, kFile, std::string(64, '0')).status();
  });
  EXPECT_THAT(sparse.message(), HasSubstr("another number of tensors"));
}

// `count` weights, of which every `packed_every`-th is packed; their names end with `name_end`.
HostileCheckpoint Many(int64_t count, int64_t packed_every, const std::string& name_end) {
  HostileCheckpoint many;
  const std::string codes(64, 'a');
  const std::string header = HostileCheckpoint::Header({4, 16}, codes);
  const std::string digest = HostileCheckpoint::DigestOf(codes);
  many.tensors.resize(2);
  many.tensors[0] = {"tightfit.headers", "U8", {0, 128}, ""};
  many.tensors[1] = {"tightfit.sha256", "U8", {count, 32}, ""};
  for (int64_t i = 0; i < count; ++i) {
    const bool is_packed = i % packed_every == 0;
    if (is_packed) many.tensors[0].bytes += header;
    many.tensors[0].shape[0] += is_packed ? 1 : 0;
    many.tensors[1].bytes += digest;
    const std::string name = std::to_string(i) + name_end;
    if (is_packed) {
      many.tensors.push_back({name, "U8", {64}, codes});
    } else {
      many.tensors.push_back({name, "F16", {1}, "ab"});
    }
  }
  return many;
}

TEST(HostilePackedCheckpointTest, HoldsAtMostTwiceItsHeaderAndIndexWhateverTheTensorsAre) {
  const TemporaryDirectory directory;
  const std::string names[] = {
      "", ".b", ".down_blocks.0.to_q.weight",
      ".down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight"};
  for (const std::string& name : names) {
    for (const int64_t packed_every : {1, 2, 100000}) {
      for (const int64_t count : {5000, 8193}) {
        HostileCheckpoint many = Many(count, packed_every, name);
        const auto [bytes, digest] = many.BytesAndDigest();
        size_t data_bytes = 0;
        for (size_t i = 2; i < many.tensors.size(); ++i) data_bytes += many.tensors[i].bytes.size();
        const size_t index_bytes = bytes.size() - data_bytes;
        const std::string path = directory.Write(kFile, bytes);
        ResetHeapUse();
        const auto opened = PackedCheckpoint::Open(path, kFile, digest);
        const size_t heap_bytes = PeakHeapBytes();
        ASSERT_TRUE(opened.ok()) << opened.status().message();
        EXPECT_EQ(std::ssize((*opened)->tensors()), count);
        EXPECT_LE(heap_bytes, 2 * index_bytes + kSlackBytes)
            << count << " tensors, one of " << packed_every << " packed, named \"" << name
            << "\": " << static_cast<double>(heap_bytes) / static_cast<double>(index_bytes);
      }
    }
  }
}

TEST(HostilePackedCheckpointTest, OneWrongHeaderOfManyIsRefusedWithinTwiceTheIndex) {
  const TemporaryDirectory directory;
  HostileCheckpoint many = Many(5000, 1, ".down_blocks.0.attentions.0.to_q.weight");
  many.tensors[0].bytes.back() ^= 1;  // only the last of them
  const auto [bytes, digest] = many.BytesAndDigest();
  const size_t index_bytes = bytes.size() - 5000 * 64;
  const std::string path = directory.Write(kFile, bytes);
  ResetHeapUse();
  const auto opened = PackedCheckpoint::Open(path, kFile, digest);
  const size_t heap_bytes = PeakHeapBytes();
  EXPECT_THAT(opened.status().message(), HasSubstr("checksum is wrong"));
  std::printf("%zu bytes of header and index: %zu of heap\n", index_bytes, heap_bytes);
  EXPECT_LE(heap_bytes, 2 * index_bytes + kSlackBytes);
}

// Valid entries as short as they get, behind which no index lies.
TEST(HostilePackedCheckpointTest, ManyTinyTensorsWithoutAnIndexTakeLittleMoreThanTheirHeader) {
  const TemporaryDirectory directory;
  std::string header;
  for (int i = 0; i < 65536; ++i) {
    header += (i == 0 ? "{\"" : ",\"") + std::to_string(i) +
              R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  }
  const std::string path = directory.Write(kFile, SafetensorsBytes(header + "}", ""));
  ResetHeapUse();
  const auto opened = PackedCheckpoint::Open(path, kFile, std::string(64, '0'));
  EXPECT_THAT(opened.status().message(), HasSubstr("is not where it must be"));
  EXPECT_LE(PeakHeapBytes(), 4 * header.size());
}

}  // namespace
}  // namespace tightfit
