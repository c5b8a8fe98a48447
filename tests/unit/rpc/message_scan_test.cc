#include "server/rpc/message_scan.h"

#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <gtest/gtest.h>
#include <tightfit/v1/image_generation.pb.h>

#include <string>

namespace tightfit {
namespace {

// In blocks of `block_bytes`, as gRPC gives them.
MessageScan Scan(const std::string& bytes, int64_t max_fields, int block_bytes = -1) {
  google::protobuf::io::ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()),
                                                block_bytes);
  return ScanMessage(&stream, *v1::StreamImagesRequest::descriptor(), max_fields);
}

v1::StreamImagesRequest ARequest() {
  v1::StreamImagesRequest request;
  request.set_request_id("x");                                      // 1
  v1::ImageParameters& parameters = *request.mutable_parameters();  // 2
  parameters.set_prompt("\x0a\x0a\x0a\x0a");                        // 3, and no fields within it
  parameters.set_guidance_scale(5);                                 // 4
  parameters.mutable_target_size()->set_width_px(1);                // 5 and 6
  parameters.add_initial_latents("\x12\x12");                       // 7
  return request;
}

TEST(MessageScanTest, CountsTheFieldsOfMessagesWithinMessages) {
  const std::string bytes = ARequest().SerializeAsString();
  for (const int block_bytes : {-1, 1, 3}) {
    EXPECT_EQ(Scan(bytes, 7, block_bytes), MessageScan::kOk);
    EXPECT_EQ(Scan(bytes, 6, block_bytes), MessageScan::kTooManyFields);
  }
  EXPECT_EQ(Scan("", 0), MessageScan::kOk);
}

TEST(MessageScanTest, CountsUnknownFieldsAndGroups) {
  v1::StreamImagesRequest request = ARequest();
  v1::Size& size = *request.mutable_parameters()->mutable_target_size();
  auto* unknown = size.GetReflection()->MutableUnknownFields(&size);
  unknown->AddVarint(9, 1);               // 8
  unknown->AddFixed32(9, 1);              // 9
  unknown->AddFixed64(9, 1);              // 10
  unknown->AddLengthDelimited(9, "abc");  // 11
  unknown->AddGroup(9)->AddVarint(1, 1);  // 12 to 14: begin, number, end
  const std::string bytes = request.SerializeAsString();
  EXPECT_EQ(Scan(bytes, 14), MessageScan::kOk);
  EXPECT_EQ(Scan(bytes, 13), MessageScan::kTooManyFields);
}

TEST(MessageScanTest, CallsEveryTruncationMalformedThatProtobufCannotRead) {
  const std::string bytes = ARequest().SerializeAsString();
  for (size_t size = 0; size < bytes.size(); ++size) {
    const std::string cut = bytes.substr(0, size);
    v1::StreamImagesRequest request;
    EXPECT_EQ(Scan(cut, 100) == MessageScan::kOk, request.ParseFromString(cut)) << size;
  }
}

TEST(MessageScanTest, RefusesWhatIsNoMessage) {
  using namespace std::string_literals;
  for (const std::string& bytes :
       {"\0"s, "\x00\x00"s, "\x0e"s, "\x0f"s, "\x0a\x05xx"s, "\x0a\xff\xff\xff\xff\x0f"s,
        "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"s, "\x0a\x01\x0a"s, "\x0a\x02\x12\x05"s,
        std::string(20, '\xff')}) {
    EXPECT_EQ(Scan(bytes, 100), MessageScan::kMalformed);
  }
}

}  // namespace
}  // namespace tightfit
