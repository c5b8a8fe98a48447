#include "server/rpc/status_mapping.h"

#include "tests/unit/rpc/rpc_fixture.h"

namespace tightfit {
namespace {

TEST(StatusMappingTest, CodesAreGrpcsCodes) {
  const std::pair<StatusCode, grpc::StatusCode> rows[] = {
      {StatusCode::kCancelled, grpc::StatusCode::CANCELLED},
      {StatusCode::kUnknown, grpc::StatusCode::UNKNOWN},
      {StatusCode::kInvalidArgument, grpc::StatusCode::INVALID_ARGUMENT},
      {StatusCode::kDeadlineExceeded, grpc::StatusCode::DEADLINE_EXCEEDED},
      {StatusCode::kNotFound, grpc::StatusCode::NOT_FOUND},
      {StatusCode::kAlreadyExists, grpc::StatusCode::ALREADY_EXISTS},
      {StatusCode::kPermissionDenied, grpc::StatusCode::PERMISSION_DENIED},
      {StatusCode::kResourceExhausted, grpc::StatusCode::RESOURCE_EXHAUSTED},
      {StatusCode::kFailedPrecondition, grpc::StatusCode::FAILED_PRECONDITION},
      {StatusCode::kAborted, grpc::StatusCode::ABORTED},
      {StatusCode::kUnimplemented, grpc::StatusCode::UNIMPLEMENTED},
      {StatusCode::kInternal, grpc::StatusCode::INTERNAL},
      {StatusCode::kUnavailable, grpc::StatusCode::UNAVAILABLE},
      {StatusCode::kDataLoss, grpc::StatusCode::DATA_LOSS},
      {StatusCode::kUnauthenticated, grpc::StatusCode::UNAUTHENTICATED},
  };
  for (const auto& [ours, grpcs] : rows) {
    const grpc::Status status = ToGrpcStatus(Status(ours, "REASON", "text"));
    EXPECT_EQ(status.error_code(), grpcs);
    EXPECT_EQ(status.error_message(), "text");
    const ErrorDetails details = DetailsOf(status);
    ASSERT_TRUE(details.info.has_value());
    EXPECT_EQ(details.info->reason(), "REASON");
    EXPECT_EQ(details.info->domain(), "tightfit");
    EXPECT_FALSE(details.bad_request.has_value());
    EXPECT_FALSE(details.retry.has_value());
    EXPECT_FALSE(details.resource.has_value());
  }
}

TEST(StatusMappingTest, OkStaysOk) { EXPECT_TRUE(ToGrpcStatus(OkStatus()).ok()); }

TEST(StatusMappingTest, CarriesMetadataAndDelay) {
  const ErrorDetails details =
      DetailsOf(ToGrpcStatus(Status(StatusCode::kResourceExhausted, "QUEUE_FULL", "full")
                                 .WithMetadata("max_queued_requests", "64")
                                 .WithRetryAfter(std::chrono::milliseconds(2500))));
  EXPECT_EQ(details.info->metadata().at("max_queued_requests"), "64");
  ASSERT_TRUE(details.retry.has_value());
  EXPECT_EQ(details.retry->retry_delay().seconds(), 2);
  EXPECT_EQ(details.retry->retry_delay().nanos(), 500'000'000);
}

TEST(StatusMappingTest, NamesTheModelThatWasNotFound) {
  const ErrorDetails details = DetailsOf(ToGrpcStatus(ModelNotFound("sdxl")));
  ASSERT_TRUE(details.resource.has_value());
  EXPECT_EQ(details.resource->resource_type(), "tightfit.v1.Model");
  EXPECT_EQ(details.resource->resource_name(), "sdxl");
}

TEST(StatusMappingTest, KeepsTheDetailInside) {
  const grpc::Status status = ToGrpcStatus(Internal("the model failed", "/models/secret"));
  EXPECT_EQ(status.error_message(), "the model failed");
  EXPECT_EQ(status.error_details().find("secret"), std::string::npos);
}

TEST(StatusMappingTest, BoundsWhatAnErrorCarries) {
  std::vector<FieldViolation> violations(kMaxFieldViolations + 1, {"field", "is bad"});
  const grpc::Status status = ToGrpcStatus(
      InvalidArgument(std::string(5000, 'x')).WithFieldViolations(std::move(violations)));
  EXPECT_EQ(status.error_message().size(), kMaxErrorMessageBytes);
  EXPECT_EQ(static_cast<size_t>(DetailsOf(status).bad_request->field_violations_size()),
            kMaxFieldViolations);
}

TEST(StatusMappingTest, CutsBetweenCharacters) {
  // 2 bytes each, the first one at an odd offset: the limit falls inside a character.
  std::string text = "x";
  for (int i = 0; i < 1000; ++i) text += "\xC3\xA9";
  const grpc::Status status = ToGrpcStatus(InvalidArgument(text));
  EXPECT_EQ(status.error_message().size(), kMaxErrorMessageBytes - 1);
  EXPECT_EQ(status.error_message().back(), '\xA9');
}

}  // namespace
}  // namespace tightfit
