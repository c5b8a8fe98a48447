#include "client/fidelity/sensitivity_log.h"

#include "tests/unit/model/temporary_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

namespace tightfit::fidelity {
namespace {

using testing::HasSubstr;

const std::string kHeader = R"({"seed":1})";

class SensitivityLogTest : public testing::Test {
 protected:
  std::string Path() const { return directory_.path() + "/log.jsonl"; }
  std::string Text() const {
    std::ifstream file(Path(), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void Put(const std::string& text) { std::ofstream(Path(), std::ios::binary) << text; }
  std::unique_ptr<SensitivityLog> Open(const std::string& header = kHeader) {
    auto log = SensitivityLog::Open(Path(), header);
    EXPECT_TRUE(log.ok()) << log.status().message();
    return log.ok() ? std::move(*log) : nullptr;
  }

 private:
  TemporaryDirectory directory_;
};

TEST_F(SensitivityLogTest, GoesOnWithWhatAnEarlierRunMeasured) {
  ASSERT_TRUE(Open()->Add({"conv_in", "nf4", 0.01, {1e-5, 2.5e-5}}).ok());
  ASSERT_TRUE(Open()->Add({"conv_out", "hf8", std::nullopt, {}}).ok());
  const auto log = Open();
  ASSERT_EQ(log->measurements().size(), 2u);
  const LayerMeasurement* const first = log->Find("conv_in", "nf4");
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(first->noise, 0.01);
  EXPECT_EQ(first->errors, (std::vector<double>{1e-5, 2.5e-5}));
  EXPECT_EQ(log->Find("conv_out", "hf8")->noise, std::nullopt);
  EXPECT_EQ(log->Find("conv_in", "hf8"), nullptr);
}

TEST_F(SensitivityLogTest, ALineThatWasCutOffIsMeasuredAgain) {
  ASSERT_TRUE(Open()->Add({"a", "nf4", 0.5, {1.0}}).ok());
  const std::string whole = Text();
  ASSERT_TRUE(Open()->Add({"b", "nf4", 0.5, {1.0}}).ok());
  const std::string both = Text();
  for (size_t size = whole.size(); size < both.size(); ++size) {
    Put(both.substr(0, size));
    const auto log = Open();
    ASSERT_NE(log, nullptr);
    ASSERT_EQ(log->measurements().size(), 1u) << size;
    ASSERT_TRUE(log->Add({"b", "nf4", 0.5, {1.0}}).ok());
    ASSERT_EQ(Text(), both);
  }
}

TEST_F(SensitivityLogTest, ARunWithOtherSettingsIsNotMixedIn) {
  ASSERT_TRUE(Open()->Add({"a", "nf4", 0.5, {1.0}}).ok());
  const std::string before = Text();
  const auto other = SensitivityLog::Open(Path(), R"({"seed":2})");
  EXPECT_EQ(other.status().reason(), "OTHER_SETTINGS");
  EXPECT_THAT(other.status().message(), HasSubstr("remove it"));
  EXPECT_EQ(Text(), before);
}

TEST_F(SensitivityLogTest, WhatNoRunHasWrittenIsRefused) {
  for (const char* line :
       {"{}", "1", "no json", R"({"layer":1,"format":"a","noise":1,"errors":[]})",
        R"({"layer":"a","format":"a","noise":1,"errors":["x"]})"}) {
    Put(kHeader + "\n" + line + "\n");
    EXPECT_EQ(SensitivityLog::Open(Path(), kHeader).status().reason(), "OTHER_SETTINGS") << line;
  }
  Put("cut off in the first line");
  EXPECT_FALSE(SensitivityLog::Open(Path(), kHeader).ok());
}

}  // namespace
}  // namespace tightfit::fidelity
