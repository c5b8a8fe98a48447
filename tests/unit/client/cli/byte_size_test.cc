#include "client/cli/byte_size.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace tightfit::cli {
namespace {

constexpr int64_t kLow = 1 << 20;
constexpr int64_t kHigh = int64_t{1} << 40;

TEST(ParseByteSize, TakesANumberWithItsUnit) {
  const auto bytes = [](const std::string& text) { return *ParseByteSize(text, kLow, kHigh); };
  EXPECT_EQ(bytes("1900MiB"), int64_t{1900} << 20);
  EXPECT_EQ(bytes("2GiB"), int64_t{2} << 30);
  EXPECT_EQ(bytes("2GB"), 2000000000);
  EXPECT_EQ(bytes("1.5MB"), 1500000);
  EXPECT_EQ(bytes("1MiB"), kLow);
  EXPECT_EQ(bytes("1024GiB"), kHigh);
}

TEST(ParseByteSize, RefusesWhatIsNoSizeAndSaysWhatIsOne) {
  for (const std::string text : {"", "MiB", "2", "2 MiB", " 2MiB", "2mib", "2TB", "-2MiB", "nanMiB",
                                 "infMiB", "0x2MiB", "2MiBMiB", "1e400MiB", "2MiB "}) {
    const auto parsed = ParseByteSize(text, kLow, kHigh);
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_THAT(parsed.status().message(), testing::HasSubstr("as 1900MiB")) << text;
  }
  for (const std::string text : {"0MiB", "0.99MiB", "1048575e-6MB", "1025GiB", "1e12GB"}) {
    const auto parsed = ParseByteSize(text, kLow, kHigh);
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_THAT(parsed.status().message(), testing::HasSubstr("from 1.0 MiB to")) << text;
  }
}

}  // namespace
}  // namespace tightfit::cli
