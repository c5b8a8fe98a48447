#include "client/cpp/error_details.h"

#include "tests/unit/client/scripted_server.h"

#include <gtest/gtest.h>

namespace tightfit::client {
namespace {

using std::chrono::milliseconds;
using testing::MakeError;

TEST(ErrorDetailsTest, DecodesEveryDetail) {
  const Status status = FromGrpc(MakeError({
      .code = grpc::StatusCode::INVALID_ARGUMENT,
      .message = "2 fields are wrong",
      .reason = "INVALID_PARAMETER",
      .metadata = {{"limit", "64"}},
      .violations = {{"width_px", "70 is not a multiple of 4"}, {"step_count", "0 is below 1"}},
      .retry_milliseconds = 1500,
      .resource_name = "apples",
  }));

  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(status.reason(), "INVALID_PARAMETER");
  EXPECT_EQ(status.message(), "2 fields are wrong");
  ASSERT_EQ(status.field_violations().size(), 2u);
  EXPECT_EQ(status.field_violations()[0].field, "width_px");
  EXPECT_EQ(status.field_violations()[0].description, "70 is not a multiple of 4");
  EXPECT_EQ(status.field_violations()[1].field, "step_count");
  EXPECT_EQ(status.retry_after(), milliseconds(1500));
  EXPECT_EQ(status.metadata().at("limit"), "64");
  EXPECT_EQ(status.metadata().at("resource_type"), "model");
  EXPECT_EQ(status.metadata().at("resource_name"), "apples");
}

TEST(ErrorDetailsTest, KeepsCodeAndMessageWithoutDetails) {
  const Status status = FromGrpc({grpc::StatusCode::NOT_FOUND, "nothing there"});
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "nothing there");
  EXPECT_EQ(status.reason(), "");
  EXPECT_FALSE(status.retry_after().has_value());
}

TEST(ErrorDetailsTest, LeavesOutDetailsThatDoNotParse) {
  const Status status =
      FromGrpc({grpc::StatusCode::INTERNAL, "broken", std::string("\xFF\xFF not protobuf")});
  EXPECT_EQ(status.code(), StatusCode::kInternal);
  EXPECT_EQ(status.message(), "broken");
  EXPECT_TRUE(status.field_violations().empty());
}

TEST(ErrorDetailsTest, KeepsEveryCodeOfTheContract) {
  for (int code = 1; code <= 16; ++code) {
    if (code == grpc::StatusCode::OUT_OF_RANGE) continue;
    EXPECT_EQ(static_cast<int>(FromGrpc({static_cast<grpc::StatusCode>(code), ""}).code()), code);
  }
  EXPECT_EQ(FromGrpc({grpc::StatusCode::OUT_OF_RANGE, ""}).code(), StatusCode::kUnknown);
}

TEST(ErrorDetailsTest, PassesSuccess) { EXPECT_TRUE(FromGrpc(grpc::Status::OK).ok()); }

TEST(ErrorDetailsTest, CutsAbsurdRetryDelays) {
  const Status status = FromGrpc(MakeError({.code = grpc::StatusCode::UNAVAILABLE,
                                            .reason = "DRAINING",
                                            .retry_milliseconds = INT64_MAX / 1000}));
  ASSERT_TRUE(status.retry_after().has_value());
  EXPECT_GT(*status.retry_after(), milliseconds(0));
}

}  // namespace
}  // namespace tightfit::client
