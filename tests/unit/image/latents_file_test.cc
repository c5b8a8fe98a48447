#include "server/image/latents_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

namespace tightfit {
namespace {

using ::testing::HasSubstr;

Latents Sample() {
  Latents latents{.channels = 2, .height = 3, .width = 5, .values = {}};
  for (int i = 0; i < 30; ++i) latents.values.push_back(static_cast<float>(i) / 7.0f - 2.0f);
  return latents;
}

// A file of this header and data.
std::string File(const std::string& header, const std::string& data) {
  const uint64_t size = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &size, 8);
  return file + header + data;
}

TEST(LatentsFileTest, ReadsWhatItWrote) {
  const Latents latents = Sample();
  const std::string file = EncodeLatents(latents);
  const auto read = DecodeLatents(file);
  ASSERT_TRUE(read.ok()) << read.status().ForLog();
  EXPECT_EQ(read->channels, 2);
  EXPECT_EQ(read->height, 3);
  EXPECT_EQ(read->width, 5);
  EXPECT_EQ(read->values, latents.values);
}

TEST(LatentsFileTest, ReadsABatchOfOneAndMetadata) {
  const auto read =
      DecodeLatents(File(R"({"__metadata__":{"format":"pt"},)"
                         R"("latents":{"dtype":"F32","shape":[1,1,1,2],"data_offsets":[0,8]}})",
                         std::string(8, '\0')));
  ASSERT_TRUE(read.ok()) << read.status().ForLog();
  EXPECT_EQ(read->width, 2);
}

TEST(LatentsFileTest, RefusesEveryTruncation) {
  const std::string file = EncodeLatents(Sample());
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_FALSE(DecodeLatents(file.substr(0, size)).ok()) << size;
  }
  EXPECT_FALSE(DecodeLatents(file + "x").ok());
}

TEST(LatentsFileTest, RefusesWhatIsNoLatents) {
  const std::string data(8, '\0');
  const auto tensor = [&](const std::string& name, const std::string& dtype,
                          const std::string& shape, const std::string& offsets) {
    return File("{\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
                    ",\"data_offsets\":" + offsets + "}}",
                data);
  };
  ASSERT_TRUE(DecodeLatents(tensor("latents", "F32", "[1,1,2]", "[0,8]")).ok());
  const std::pair<std::string, const char*> bad[] = {
      {tensor("latent", "F32", "[1,1,2]", "[0,8]"), "other tensors"},
      {tensor("latents", "F16", "[1,1,4]", "[0,8]"), "dtype"},
      {tensor("latents", "F32", "[1,2]", "[0,8]"), "shape"},
      {tensor("latents", "F32", "[2,1,1,1]", "[0,8]"), "shape"},
      {tensor("latents", "F32", "[1,0,2]", "[0,8]"), "shape"},
      {tensor("latents", "F32", "[1,-1,2]", "[0,8]"), "shape"},
      {tensor("latents", "F32", "[4294967296,4294967296,1]", "[0,8]"), "shape"},
      {tensor("latents", "F32", "[1,1,3]", "[0,12]"), "size"},
      {tensor("latents", "F32", "[1,1,2]", "[0,4]"), "size"},
      {tensor("latents", "F32", "[1,1,2]", "\"all\""), "size"},
      {File("[]", data), "no JSON object"},
      {File("{", data), "no JSON object"},
      {File("{\"latents\":[]}", data), "other tensors"},
      {File("{}", data), "other tensors"},
      {File(std::string(5000, ' '), data), "header"},
      {"\xff\xff\xff\xff\xff\xff\xff\xff", "header"},
  };
  for (const auto& [file, what] : bad) {
    const auto read = DecodeLatents(file);
    ASSERT_FALSE(read.ok()) << what;
    EXPECT_EQ(read.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(read.status().message(), HasSubstr(what));
  }
}

TEST(LatentsFileTest, RefusesValuesThatAreNotFinite) {
  for (const float bad :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    Latents latents = Sample();
    latents.values[7] = bad;
    EXPECT_THAT(DecodeLatents(EncodeLatents(latents)).status().message(), HasSubstr("finite"));
  }
}

}  // namespace
}  // namespace tightfit
