// Every member of Limits, at the limit and one past it. A test is named as the member that it
// holds, and a member without one is a failure.
#include "server/base/limits.h"

#include "tests/support/input_image_files.h"
#include "tests/unit/rpc/rpc_fixture.h"

#include <chrono>
#include <cmath>
#include <fstream>
#include <functional>
#include <regex>
#include <set>
#include <sstream>
#include <string>

namespace tightfit {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

class LimitsTest : public RpcFixture {
 protected:
  ~LimitsTest() override { StopServer(); }  // before fake_clock_ goes

  FakeClock fake_clock_;

  // Whether `condition`, asked again and again for some seconds, came true.
  static bool SoonTrue(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
    }
    return true;
  }

  // Asks for an image of one step, changed by `change`.
  grpc::Status Ask(const std::function<void(v1::ImageParameters&)>& change) {
    v1::StreamImagesRequest request = Request();
    request.mutable_parameters()->set_step_count(1);
    change(*request.mutable_parameters());
    return Stream(request).status;
  }

  // Starts a server that has room for two connections and asks for three.
  void ExpectTheThirdConnectionRefused() {
    StartServer();
    ExpectAccepted([](v1::ImageParameters&) {});
    const auto second = Connect();
    EXPECT_TRUE(
        second->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(30)));
    const auto third = Connect();
    EXPECT_FALSE(
        third->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(2)));
  }

  void ExpectAccepted(const std::function<void(v1::ImageParameters&)>& change) {
    const grpc::Status status = Ask(change);
    EXPECT_TRUE(status.ok()) << status.error_message();
  }
  void ExpectRefused(const std::function<void(v1::ImageParameters&)>& change, const char* field,
                     const char* limit) {
    const grpc::Status status = Ask(change);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(DetailsOf(status).ViolationOf(field), HasSubstr(limit));
  }
  // A request of exactly `bytes`.
  static v1::StreamImagesRequest RequestOf(size_t bytes) {
    v1::StreamImagesRequest request = Request("");
    size_t prompt_bytes = bytes;
    do {
      request.mutable_parameters()->set_prompt(std::string(prompt_bytes--, 'x'));
    } while (request.ByteSizeLong() > bytes);
    EXPECT_EQ(request.ByteSizeLong(), bytes);
    return request;
  }
  int64_t LargestChunkBytes(const StreamResult& result) {
    int64_t largest = 0;
    for (const v1::StreamImagesResponse& event : result.events) {
      largest = std::max<int64_t>(largest, std::ssize(event.image_chunk().content()));
    }
    return largest;
  }
};

TEST_F(LimitsTest, min_side_px) {
  StartServer();
  ExpectAccepted([&](auto& p) { p.set_width_px(limits_.min_side_px); });
  ExpectRefused([&](auto& p) { p.set_width_px(limits_.min_side_px - 1); }, "width_px", "16");
}

TEST_F(LimitsTest, max_side_px) {
  StartServer();
  ExpectAccepted([&](auto& p) { p.set_height_px(limits_.max_side_px); });
  ExpectRefused([&](auto& p) { p.set_height_px(limits_.max_side_px + 1); }, "height_px", "2048");
}

TEST_F(LimitsTest, max_area_px) {
  StartServer();
  // Both sides at their limit are the area's limit; with longer sides the area is past it.
  ASSERT_EQ(limits_.max_area_px, int64_t{limits_.max_side_px} * limits_.max_side_px);
  ExpectAccepted([&](auto& p) {
    p.set_width_px(limits_.max_side_px);
    p.set_height_px(limits_.max_side_px);
  });
  StopServer();
  limits_.max_area_px = 64 * 64 - 1;
  StartServer();
  ExpectRefused([](auto&) {}, "width_px", "at most 4095");
}

TEST_F(LimitsTest, max_image_count) {
  StartServer();
  ExpectAccepted([&](auto& p) { p.set_image_count(limits_.max_image_count); });
  ExpectRefused([&](auto& p) { p.set_image_count(limits_.max_image_count + 1); }, "image_count",
                "1 to 8");
}

TEST_F(LimitsTest, max_step_count) {
  StartServer();
  ExpectAccepted([&](auto& p) { p.set_step_count(limits_.max_step_count); });
  ExpectRefused([&](auto& p) { p.set_step_count(limits_.max_step_count + 1); }, "step_count",
                "1 to 150");
}

TEST_F(LimitsTest, max_guidance_scale) {
  StartServer();
  ExpectAccepted([&](auto& p) { p.set_guidance_scale(limits_.max_guidance_scale); });
  ExpectRefused(
      [&](auto& p) { p.set_guidance_scale(std::nextafter(limits_.max_guidance_scale, 100.0f)); },
      "guidance_scale", "0 to 30");
}

TEST_F(LimitsTest, max_prompt_bytes) {
  StartServer();
  ExpectAccepted([&](auto& p) { p.set_prompt(std::string(limits_.max_prompt_bytes, 'x')); });
  ExpectRefused([&](auto& p) { p.set_prompt(std::string(limits_.max_prompt_bytes + 1, 'x')); },
                "prompt", "at most 4096");
}

TEST_F(LimitsTest, max_pixel_steps) {
  limits_.max_pixel_steps = int64_t{64} * 64 * 8 * 3;
  StartServer();
  ExpectAccepted([](auto& p) {
    p.set_image_count(8);
    p.set_step_count(3);
  });
  StopServer();
  --limits_.max_pixel_steps;
  StartServer();
  ExpectRefused(
      [](auto& p) {
        p.set_image_count(8);
        p.set_step_count(3);
      },
      "step_count", "at most 98303");
}

TEST_F(LimitsTest, max_input_image_bytes) {
  const std::string image = GradientPng(64, 64);
  const std::string mask = HalfMaskPng(64, 64, 32);
  ASSERT_LT(mask.size(), image.size());
  const auto draw_over = [&](v1::ImageParameters& p) {
    p.set_step_count(4);
    p.set_init_image(image);
    p.set_mask(mask);
  };
  for (const size_t bytes : {image.size(), image.size() - 1, mask.size() - 1}) {
    limits_.max_input_image_bytes = static_cast<int32_t>(bytes);
    StartServer();
    if (bytes == image.size()) ExpectAccepted(draw_over);
    const std::string limit = "at most " + std::to_string(bytes);
    if (bytes < image.size()) ExpectRefused(draw_over, "init_image", limit.c_str());
    if (bytes < mask.size()) ExpectRefused(draw_over, "mask", limit.c_str());
    StopServer();
  }
}

TEST_F(LimitsTest, max_input_image_px) {
  const auto draw_over = [](v1::ImageParameters& p) {
    p.set_step_count(4);
    p.set_init_image(GradientPng(64, 32));
    p.set_mask(HalfMaskPng(64, 32, 32));
  };
  limits_.max_input_image_px = 64 * 32;
  StartServer();
  ExpectAccepted(draw_over);
  StopServer();
  --limits_.max_input_image_px;
  StartServer();
  ExpectRefused(draw_over, "init_image", "has 64 x 32 pixels, but may have at most 2047");
  ExpectRefused(draw_over, "mask", "at most 2047");
  StopServer();
  const auto enlarge = [](v1::ImageParameters& p) {
    p.set_step_count(4);
    p.set_init_image(GradientPng(64, 32));
    p.mutable_outpaint()->set_bottom_px(16);
  };
  limits_.max_input_image_px = 64 * 48;
  StartServer();
  ExpectAccepted(enlarge);
  StopServer();
  --limits_.max_input_image_px;
  StartServer();
  ExpectRefused(enlarge, "outpaint", "64 x 48 pixels, but it may have at most 3071");
}

TEST_F(LimitsTest, max_queued_requests) {
  limits_.max_queued_requests = 2;
  max_running_requests_ = 1;
  StartServer();
  StopEveryCall();
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<v1::StreamImagesResponse>>> readers;
  const auto ask = [&] {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    readers.push_back(images_->StreamImages(contexts.back().get(), Request()));
    v1::StreamImagesResponse event;
    return readers.back()->Read(&event);
  };
  EXPECT_TRUE(ask());
  ASSERT_TRUE(gate_.WaitForArrivals(1)) << "one runs";
  EXPECT_TRUE(ask());
  EXPECT_TRUE(ask()) << "the last that the queue takes";
  EXPECT_FALSE(ask());
  const grpc::Status refused = readers.back()->Finish();
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(DetailsOf(refused).info->reason(), "QUEUE_FULL");
  EXPECT_TRUE(DetailsOf(refused).retry.has_value());
  readers.pop_back();
  gate_.Open();
  for (auto& reader : readers) EXPECT_TRUE(ReadToEnd(*reader).status.ok());
}

TEST_F(LimitsTest, max_receive_message_bytes) {
  limits_.max_receive_message_bytes = 10000;
  StartServer();
  EXPECT_EQ(Stream(RequestOf(10000)).status.error_code(), grpc::StatusCode::INVALID_ARGUMENT)
      << "it was read: the prompt is too long";
  EXPECT_EQ(Stream(RequestOf(10001)).status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(LimitsTest, max_message_fields) {
  // `parameters` and its prompt and step count are three fields.
  const auto with_unknown = [](int count) {
    v1::StreamImagesRequest request = Request();
    request.mutable_parameters()->set_step_count(1);
    v1::ImageParameters& parameters = *request.mutable_parameters();
    for (int i = 0; i < count; ++i) {
      parameters.GetReflection()->MutableUnknownFields(&parameters)->AddVarint(1000, 1);
    }
    return request;
  };
  StartServer();
  const grpc::Status at = Stream(with_unknown(limits_.max_message_fields - 3)).status;
  EXPECT_NE(DetailsOf(at).ViolationOf("1000"), "") << "it was read";
  ASSERT_TRUE(recorder_.WaitForRecord(1).has_value());
  const grpc::Status past = Stream(with_unknown(limits_.max_message_fields - 2)).status;
  EXPECT_EQ(past.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(DetailsOf(past).info->reason(), "TOO_MANY_FIELDS");
  EXPECT_THAT(past.error_message(), HasSubstr("10000"));
  EXPECT_EQ(recorder_.WaitForRecord(2)->status.reason(), "TOO_MANY_FIELDS");
}

TEST_F(LimitsTest, max_send_message_bytes) {
  v1::GenerateImagesRequest request;
  request.mutable_parameters()->set_width_px(512);
  request.mutable_parameters()->set_height_px(512);
  request.mutable_parameters()->set_seed(1);
  controls_->noisy = true;
  const auto ask = [&](v1::GenerateImagesResponse* response) {
    grpc::ClientContext context;
    return images_->GenerateImages(&context, request, response);
  };
  StartServer();
  v1::GenerateImagesResponse response;
  ASSERT_TRUE(ask(&response).ok());
  // Durations are told in messages of some bytes more or less.
  const auto bytes = static_cast<int32_t>(response.ByteSizeLong());
  for (const int difference : {64, -64}) {
    StopServer();
    limits_.max_send_message_bytes = bytes + difference;
    StartServer();
    EXPECT_EQ(ask(&response).ok(), difference > 0) << difference;
  }
}

TEST_F(LimitsTest, max_unary_reply_bytes) {
  v1::GenerateImagesRequest request;
  request.mutable_parameters()->set_image_count(2);
  // A PNG that nothing compresses, and what comes with it: request_validator.h says how much.
  constexpr int64_t kRaw = (64 * 3 + 1) * 64;
  constexpr int64_t kLargest = 2 * (kRaw + kRaw / 256 + (48 << 10));
  for (const int64_t limit : {kLargest, kLargest - 1}) {
    limits_.max_unary_reply_bytes = limit;
    StartServer();
    grpc::ClientContext context;
    v1::GenerateImagesResponse response;
    const grpc::Status status = images_->GenerateImages(&context, request, &response);
    if (limit == kLargest) {
      EXPECT_TRUE(status.ok()) << status.error_message();
    } else {
      EXPECT_THAT(DetailsOf(status).ViolationOf("image_count"), HasSubstr("StreamImages"));
    }
    StopServer();
  }
}

TEST_F(LimitsTest, grpc_memory_quota_bytes) {
  // A message within its limit, that the quota has no room for and that it has.
  const v1::StreamImagesRequest large = RequestOf(8 << 20);
  limits_.grpc_memory_quota_bytes = 2 << 20;
  StartServer();
  // gRPC short of memory refuses the stream or closes the connection, until it has its memory back
  // a moment later.
  EXPECT_THAT(Stream(large).status.error_code(),
              AnyOf(grpc::StatusCode::RESOURCE_EXHAUSTED, grpc::StatusCode::UNAVAILABLE));
  EXPECT_TRUE(SoonTrue([&] { return Stream(Request()).status.ok(); }))
      << "the next ones are served";
  StopServer();
  limits_.grpc_memory_quota_bytes = 64 << 20;
  StartServer();
  EXPECT_EQ(Stream(large).status.error_code(), grpc::StatusCode::INVALID_ARGUMENT)
      << "it was read: the prompt is too long";
}

TEST_F(LimitsTest, image_chunk_bytes) {
  controls_->noisy = true;
  limits_.image_chunk_bytes = 1000;
  StartServer();
  EXPECT_EQ(LargestChunkBytes(Stream(Request())), 1000);
}

TEST_F(LimitsTest, max_stream_backlog_bytes) {
  controls_->noisy = true;
  // Of eight images each takes the limit, so the next is encoded only when one was sent.
  limits_.max_stream_backlog_bytes = 1;
  StartServer();
  v1::StreamImagesRequest request = Request();
  request.mutable_parameters()->set_image_count(8);
  const StreamResult result = Stream(request);
  ASSERT_TRUE(result.status.ok());
  int encoding_after_chunks = 0;
  bool sent = true;
  for (const v1::StreamImagesResponse& event : result.events) {
    if (event.has_progress() && event.progress().stage() == v1::STAGE_IMAGE_ENCODE) {
      EXPECT_TRUE(sent) << "an image was encoded while another one waited";
      sent = false;
      ++encoding_after_chunks;
    }
    if (event.has_image_chunk() && event.image_chunk().last()) sent = true;
  }
  EXPECT_EQ(encoding_after_chunks, 8);
}

TEST_F(LimitsTest, stalled_reader_seconds) {
  clock_ = &fake_clock_;
  controls_->noisy = true;
  StartServer();
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  const auto stub = v1::ImageGenerationService::NewStub(
      grpc::CreateCustomChannel(server_->address(), grpc::InsecureChannelCredentials(), arguments));
  v1::StreamImagesRequest request = Request();
  request.mutable_parameters()->set_width_px(1024);
  request.mutable_parameters()->set_height_px(1024);
  request.mutable_parameters()->set_image_count(4);
  request.mutable_parameters()->set_step_count(1);
  grpc::ClientContext context;
  const auto reader = stub->StreamImages(&context, request);
  v1::StreamImagesResponse event;
  ASSERT_TRUE(reader->Read(&event));
  const auto limit = std::chrono::seconds(limits_.stalled_reader_seconds);
  fake_clock_.Advance(limit - std::chrono::nanoseconds(1));
  // Longer than the watch's interval.
  EXPECT_FALSE(recorder_.WaitForRecord(1, std::chrono::milliseconds(600)).has_value());
  // Some more writes may have begun since.
  std::optional<RequestRecord> record;
  for (int i = 0; i < 500 && !record.has_value(); ++i) {
    fake_clock_.Advance(limit);
    record = recorder_.WaitForRecord(1, std::chrono::milliseconds(100));
  }
  ASSERT_TRUE(record.has_value());
  EXPECT_EQ(record->status.reason(), "STALLED_READER");
}

TEST_F(LimitsTest, max_undelivered_image_bytes) {
  // Two images that nothing compresses, and what comes with them.
  constexpr int64_t kRaw = (64 * 3 + 1) * 64;
  limits_.max_undelivered_image_bytes = 2 * (kRaw + kRaw / 256 + (48 << 10));
  max_running_requests_ = 1;
  StartServer();
  StopEveryCall();
  grpc::ClientContext contexts[2];
  const auto first = images_->StreamImages(&contexts[0], Request());
  ASSERT_TRUE(gate_.WaitForArrivals(1));
  const auto second = images_->StreamImages(&contexts[1], Request());
  v1::StreamImagesResponse event;
  ASSERT_TRUE(second->Read(&event)) << "both at the limit";
  const grpc::Status third = Stream(Request()).status;
  EXPECT_EQ(third.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(DetailsOf(third).info->reason(), "IMAGES_UNDELIVERED");
  EXPECT_TRUE(DetailsOf(third).retry.has_value());
  gate_.Open();
  EXPECT_TRUE(ReadToEnd(*first).status.ok());
  EXPECT_TRUE(ReadToEnd(*second).status.ok());
  // A call gives back what it took when gRPC lets go of it, which its client does not see.
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(SoonTrue([&] { return Stream(Request()).status.ok(); })) << "all was given back";
  }
}

TEST_F(LimitsTest, max_connections) {
  limits_.max_connections = 2;
  limits_.max_connections_per_address = 2;
  ExpectTheThirdConnectionRefused();
  EXPECT_GT(recorder_.connections().refused_for_limit, 0);
}

TEST_F(LimitsTest, max_connections_per_address) {
  limits_.max_connections = 10;
  limits_.max_connections_per_address = 2;
  ExpectTheThirdConnectionRefused();
  EXPECT_GT(recorder_.connections().refused_for_address_limit, 0);
  EXPECT_EQ(recorder_.connections().refused_for_limit, 0);
}

TEST(LimitsOfTheServerTest, HaveATestEachThatIsNamedAsTheyAre) {
  std::ifstream file(TIGHTFIT_SOURCE_DIR "/server/base/limits.h");
  std::stringstream text;
  text << file.rdbuf();
  const std::string header = text.str();
  std::set<std::string> tests;
  const testing::UnitTest& program = *testing::UnitTest::GetInstance();
  for (int i = 0; i < program.total_test_suite_count(); ++i) {
    const testing::TestSuite& suite = *program.GetTestSuite(i);
    if (std::string(suite.name()) != "LimitsTest") continue;
    for (int j = 0; j < suite.total_test_count(); ++j) tests.insert(suite.GetTestInfo(j)->name());
  }
  const std::regex member(R"(\n  \w+ (\w+) = )");
  std::set<std::string> members;
  for (std::sregex_iterator found(header.begin(), header.end(), member), end; found != end;
       ++found) {
    members.insert((*found)[1]);
  }
  EXPECT_GE(members.size(), 16u);
  EXPECT_EQ(members, tests);
}

}  // namespace
}  // namespace tightfit
