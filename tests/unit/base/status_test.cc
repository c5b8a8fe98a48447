#include "server/base/status.h"

#include <gtest/gtest.h>

#include <memory>

namespace tightfit {
namespace {

Result<int> Half(int value) {
  if (value % 2 != 0) return InvalidArgument("the number is odd");
  return value / 2;
}

Result<int> Quarter(int value) {
  TF_ASSIGN_OR_RETURN(const int half, Half(value));
  return Half(half);
}

Status CheckQuarter(int value) {
  TF_RETURN_IF_ERROR(Quarter(value).status());
  return OkStatus();
}

TEST(StatusTest, IsOkByDefault) {
  EXPECT_TRUE(Status().ok());
  EXPECT_TRUE(OkStatus().ok());
}

TEST(StatusTest, CarriesWhatWasAdded) {
  const Status status = Status(StatusCode::kResourceExhausted, "QUEUE_FULL", "full")
                            .WithDetail("64 of 64")
                            .WithMetadata("limit", "64")
                            .WithRetryAfter(std::chrono::milliseconds(250))
                            .WithFieldViolations({{"seed", "negative"}});
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(status.reason(), "QUEUE_FULL");
  EXPECT_EQ(status.message(), "full");
  EXPECT_EQ(status.metadata().at("limit"), "64");
  EXPECT_EQ(status.retry_after(), std::chrono::milliseconds(250));
  ASSERT_EQ(status.field_violations().size(), 1u);
  EXPECT_EQ(status.field_violations()[0].field, "seed");
}

TEST(StatusTest, TellsTheDetailToTheLogOnly) {
  const Status status = Internal("the model failed", "at /models/a.ts");
  EXPECT_EQ(status.message(), "the model failed");
  EXPECT_EQ(status.ForLog(), "the model failed [at /models/a.ts]");
  EXPECT_EQ(InvalidArgument("bad").ForLog(), "bad");
}

TEST(ResultTest, HoldsAValueOrTheReason) {
  EXPECT_EQ(*Half(4), 2);
  EXPECT_EQ(Half(3).status().code(), StatusCode::kInvalidArgument);
}

TEST(ResultTest, MovesItsValueOut) {
  Result<std::unique_ptr<int>> result(std::make_unique<int>(7));
  const std::unique_ptr<int> value = std::move(result).value();
  EXPECT_EQ(*value, 7);
}

TEST(ResultTest, TurnsAnOkStatusUsedAsErrorIntoInternal) {
  const Result<int> result(OkStatus());
  EXPECT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), StatusCode::kInternal);
}

TEST(ResultTest, MacrosReturnTheFirstError) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_FALSE(Quarter(6).ok());
  EXPECT_TRUE(CheckQuarter(4).ok());
  EXPECT_EQ(CheckQuarter(5).code(), StatusCode::kInvalidArgument);
}

TEST(ResultDeathTest, EndsTheProcessWhenAnErrorIsReadAsAValue) { EXPECT_DEATH((void)*Half(3), ""); }

}  // namespace
}  // namespace tightfit
