// Attacks on the wire of a real server process. Each one prints what it did to the server's memory
// and to other clients; with TIGHTFIT_FULL=1 they are as large as can be.
#include "tests/integration/wire_attack_fixture.h"
#include "tests/support/input_image_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <random>
#include <string>
#include <tuple>
#include <vector>

namespace tightfit {
namespace {

constexpr char kStreamImages[] = "/tightfit.v1.ImageGenerationService/StreamImages";
constexpr char kGenerateImages[] = "/tightfit.v1.ImageGenerationService/GenerateImages";
constexpr char kListModels[] = "/tightfit.v1.ModelService/ListModels";

// `size` zeros as gzip has them: a thousandth of it.
std::string GzipOfZeros(size_t size) {
  z_stream stream = {};
  constexpr int kGzip = 16;
  EXPECT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, 15 + kGzip, 9, Z_DEFAULT_STRATEGY), Z_OK);
  std::string zeros(1 << 20, '\0');
  std::string packed;
  std::string out(1 << 16, '\0');
  for (size_t done = 0; done < size; done += zeros.size()) {
    stream.next_in = reinterpret_cast<Bytef*>(zeros.data());
    stream.avail_in = static_cast<uInt>(zeros.size());
    const bool last = done + zeros.size() >= size;
    int result = Z_OK;
    do {
      stream.next_out = reinterpret_cast<Bytef*>(out.data());
      stream.avail_out = static_cast<uInt>(out.size());
      result = deflate(&stream, last ? Z_FINISH : Z_NO_FLUSH);
      packed.append(out, 0, out.size() - stream.avail_out);
    } while (stream.avail_out == 0 && result == Z_OK);
  }
  deflateEnd(&stream);
  return packed;
}

// A tag and a value of protobuf's wire format.
std::string Varint(uint64_t value) {
  std::string coded;
  for (; value >= 128; value >>= 7) coded.push_back(static_cast<char>((value & 127) | 128));
  coded.push_back(static_cast<char>(value));
  return coded;
}
std::string Tag(uint32_t field, uint32_t wire_type) { return Varint(field << 3 | wire_type); }
std::string Repeated(const std::string& text, size_t bytes) {
  std::string all;
  all.reserve(bytes);
  while (all.size() + text.size() <= bytes) all += text;
  return all;
}
// A request whose `parameters` are these bytes.
std::string WithParameters(const std::string& bytes) {
  return Tag(1, 2) + Varint(bytes.size()) + bytes;
}

class WireAttackTest : public WireAttackFixture {
 protected:
  // A prompt of 64 MiB by a client library.
  void SendLargePrompt(size_t bytes) {
    v1::ImageParameters parameters = Parameters(1);
    parameters.set_prompt("secret" + std::string(bytes, 'x'));
    const grpc::Status status = StreamingRequest(Connect(), parameters).Finish();
    // UNAVAILABLE where gRPC, short of memory, closes connections.
    EXPECT_THAT(status.error_code(),
                testing::AnyOf(grpc::StatusCode::RESOURCE_EXHAUSTED, grpc::StatusCode::UNAVAILABLE))
        << status.error_message();
  }
};

TEST_F(WireAttackTest, OneLargeMessage) {
  StartAndWaitUntilReady();
  Attack("64 MiB", [&] { SendLargePrompt(64 << 20); });
}

TEST_F(WireAttackTest, EightLargeMessagesAtOnce) {
  StartAndWaitUntilReady();
  // What gRPC has accepted when its quota is full passes it by a little.
  Attack("64 MiB, eight at once", [&] { AtOnce(8, [&] { SendLargePrompt(64 << 20); }); },
         {.growth_bytes = kMaxGrowthBytes + (16 << 20)});
}

TEST_F(WireAttackTest, MessagesThatAreJustNotTooLarge) {
  StartAndWaitUntilReady();
  const size_t bytes = Limits().max_receive_message_bytes - (64 << 10);
  Attack("8.9 MiB of prompt, eight at once", [&] {
    AtOnce(8, [&] {
      v1::ImageParameters parameters = Parameters(1);
      parameters.set_prompt(std::string(bytes, 'x'));
      EXPECT_FALSE(StreamingRequest(Connect(), parameters).Finish().ok());
    });
  });
}

// What takes two or three bytes on the wire becomes an object of some dozens when it is parsed.
TEST_F(WireAttackTest, MessagesOfTinyFields) {
  StartAndWaitUntilReady();
  const size_t bytes = Limits().max_receive_message_bytes - 1024;
  const std::string group = Tag(15, 3) + Tag(15, 4);
  const std::string nested_group = WithParameters(Repeated(Tag(99, 3) + Tag(99, 4), bytes));
  const std::string number = Repeated(Tag(15, 0) + Varint(1), bytes);
  const std::string latents = WithParameters(Repeated(Tag(23, 2) + Varint(0), bytes));
  for (const auto& [name, path, message] :
       std::vector<std::tuple<const char*, const char*, std::string>>{
           {"unknown groups", kGenerateImages, Repeated(group, bytes)},
           {"unknown groups of the parameters", kStreamImages, nested_group},
           {"unknown numbers", kGenerateImages, number},
           {"empty latents", kStreamImages, latents},
           {"unknown groups to ModelService", kListModels, Repeated(group, bytes)}}) {
    Attack(name, [&, path = path, message = GrpcMessage(message)] {
      AtOnce(Scaled(4, 8), [&] { Call(path, message); });
    });
  }
}

TEST_F(WireAttackTest, GzipBombs) {
  StartAndWaitUntilReady();
  const std::string bomb = GrpcMessage(GzipOfZeros(size_t{512} << 20), /*compressed=*/true);
  Attack("512 MiB by gzip", [&] {
    Call(kStreamImages, bomb, {{"grpc-encoding", "gzip"}});
    Call(kStreamImages, bomb);
  });
}

// 64 KiB become 64 MiB of pixels. They are decoded one after the other, however many come at once.
TEST_F(WireAttackTest, ImagesOfManyPixels) {
  StartAndWaitUntilReady();
  constexpr uint32_t kSidePx = 4096;
  const std::string zeros(size_t{4} * kSidePx * kSidePx, '\0');
  const std::string bomb = PngFile(kSidePx, kSidePx, PngColours::kRgba, zeros);
  Attack("images of 16 Mi pixels, some at once", [&] {
    AtOnce(Scaled(2, 8), [&] {
      v1::ImageParameters parameters = Parameters(4);
      parameters.set_width_px(1024);
      parameters.set_height_px(64);
      parameters.set_init_image(bomb);
      StreamingRequest(Connect(), parameters).Finish();
    });
  });
}

TEST_F(WireAttackTest, DeepNesting) {
  StartAndWaitUntilReady();
  const std::string begin = Tag(99, 3);
  const std::string groups = Repeated(begin, begin.size() * 10000);
  const std::string closed = groups + Repeated(Tag(99, 4), begin.size() * 10000);
  Attack("groups 10 000 deep", [&] {
    for (const std::string& message : {groups, closed, WithParameters(closed)}) {
      Call(kStreamImages, GrpcMessage(message));
      Call(kListModels, GrpcMessage(message));
    }
  });
}

TEST_F(WireAttackTest, BrokenFrames) {
  StartAndWaitUntilReady();
  const std::string preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  const std::string settings("\0\0\0\4\0\0\0\0\0", 9);
  std::mt19937 random(1);
  std::string noise(4096, '\0');
  for (char& byte : noise) byte = static_cast<char>(random());
  std::vector<std::string> openings = {
      "",
      "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
      "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  // TLS
      preface.substr(0, 10),
      preface + noise,
      noise,
      preface + std::string("\xff\xff\xff\4\0\0\0\0\0", 9),             // settings of 16 MiB
      preface + settings + std::string("\0\0\5\1\4\0\0\0\1zzzzz", 14),  // headers that are none
      preface + settings + std::string("\0\0\1\1\0\0\0\0\1\x82", 10),   // headers without their end
      preface + settings + std::string("\0\0\1\0\0\0\0\0\1x", 10),      // data of no stream
      preface + settings + std::string("\0\0\4\x8\0\0\0\0\0\0\0\0\0", 13),  // a window of 0
      preface + settings + std::string("\0\0\4\x8\0\0\0\0\0\x7f\xff\xff\xff", 13),
      preface + settings + std::string("\0\0\3\3\0\0\0\0\1xxx", 12),  // a reset of another size
      preface + settings + std::string("\0\0\1\6\0\0\0\0\0x", 10),    // a ping of another size
      preface + settings + std::string("\0\0\6\4\0\0\0\0\0\0\4\xff\xff\xff\xff", 15),
      preface + settings + std::string("\0\0\0\x63\0\0\0\0\0", 9),  // an unknown frame
  };
  for (size_t size = 0; size < preface.size() + settings.size(); size += 5) {
    openings.push_back((preface + settings).substr(0, size));
  }
  Attack("broken connections", [&] {
    for (const std::string& opening : openings) {
      const auto connection = RawConnection();
      connection->SendRaw(opening);
      connection->Receive(std::chrono::milliseconds(1));
    }
  });
  const std::string message = GrpcMessage(WithParameters(Tag(1, 2) + Varint(1) + "x"));
  Attack("broken streams", [&] {
    std::vector<std::string> streams = {
        std::string("\0\xff\xff\xff\xff", 5),   // a message of 4 GiB that does not come
        std::string("\0\0\x80\0\0", 5) + "xx",  // one of 8 MiB
        std::string("\2\0\0\0\0", 5),           // a flag that is none
        message + message,                      // two where there is one
        GrpcMessage(WithParameters("x")),
        GrpcMessage("\xff\xff\xff"),
        GrpcMessage(WithParameters(Tag(2, 2) + Varint(2) + "\xff\xfe")),  // no UTF-8
    };
    for (size_t size = 0; size < message.size(); ++size) streams.push_back(message.substr(0, size));
    for (const std::string& stream : streams) Call(kStreamImages, stream);
    // The other half never comes.
    const auto connection = RawConnection();
    if (!connection->OpenAndWait()) return;
    for (uint32_t stream = 1; stream < 200; stream += 2) {
      connection->SendCall(stream, kStreamImages);
      connection->SendFrame(FrameType::kData, 0, stream, std::string("\0\0\x80\0\0", 5));
    }
    connection->Receive(std::chrono::milliseconds(5));
  });
}

TEST_F(WireAttackTest, FloodsOfPings) {
  StartAndWaitUntilReady();
  const std::string payload(8, 'p');
  const auto pings = [&] {
    const auto connection = RawConnection();
    connection->Open();
    for (int i = 0; i < Scaled(20000, 100000) && connection->is_open(); ++i) {
      if (!connection->SendFrame(FrameType::kPing, 0, 0, payload)) break;
    }
  };
  // What came before the connection is closed is parsed, by one of the threads that read: others
  // may wait for it, and what it holds passes the quota.
  Attack("pings, no answer read", pings,
         {.growth_bytes = 2 * Limits().grpc_memory_quota_bytes, .p99 = kMaxSharedP99});
  Attack("settings, no answer read", [&] {
    const auto connection = RawConnection();
    connection->Open();
    for (int i = 0; i < Scaled(20000, 100000) && connection->is_open(); ++i) {
      if (!connection->SendFrame(FrameType::kSettings, 0, 0, "")) break;
    }
  });
}

TEST_F(WireAttackTest, HeadersThatAreTooLarge) {
  StartAndWaitUntilReady();
  Attack("headers", [&] {
    const auto connection = RawConnection();
    if (!connection->OpenAndWait()) return;
    connection->SendCall(1, kStreamImages, {{"x-secret", std::string(9 << 10, 'x')}});
    connection->WaitForEnd(1, std::chrono::seconds(10));
    // Headers that go on without an end.
    const auto endless = RawConnection();
    if (!endless->OpenAndWait()) return;
    endless->SendFrame(FrameType::kHeaders, 0, 1, std::string("\0\1a\1b", 5));
    std::string block;
    for (int i = 0; i < 3000; ++i) block += std::string("\0\1a\1b", 5);
    for (int i = 0; i < 200 && endless->is_open(); ++i) {
      if (!endless->SendFrame(FrameType::kContinuation, 0, 1, block)) break;
    }
  });
}

TEST_F(WireAttackTest, HalfOpenConnections) {
  StartAndWaitUntilReady();
  const std::string preface = "PRI * HTTP/2.0\r\n";
  std::vector<std::unique_ptr<Http2Connection>> connections;
  Attack("1000 half-open connections", [&] {
    if (!connections.empty()) return std::this_thread::sleep_for(std::chrono::milliseconds(100));
    for (int i = 0; i < 1000; ++i) {
      connections.push_back(RawConnection());
      if (i % 2 == 0) connections.back()->SendRaw(preface);
    }
  });
  if (!IsFull()) return;
  // The server does not wait for ever.
  const auto give_up_at = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  for (const auto& connection : connections) {
    while (connection->is_open() && std::chrono::steady_clock::now() < give_up_at) {
      connection->Receive(std::chrono::milliseconds(50));
    }
    EXPECT_FALSE(connection->is_open());
  }
}

TEST_F(WireAttackTest, SlowReadersOfLargeImages) {
  StartAndWaitUntilReady({}, {{"FAKE_NOISY", "1"}});
  v1::StreamImagesRequest request;
  *request.mutable_parameters() = Parameters(1);
  request.mutable_parameters()->set_width_px(768);
  request.mutable_parameters()->set_height_px(768);
  request.mutable_parameters()->set_image_count(8);  // 13 MiB that nothing compresses
  const std::string message = GrpcMessage(request.SerializeAsString());
  std::vector<std::unique_ptr<Http2Connection>> readers;
  Attack("a reader that takes 64 KiB of 13 MiB", [&] {
    if (!readers.empty()) return std::this_thread::sleep_for(std::chrono::milliseconds(100));
    readers.push_back(RawConnection());
    ASSERT_TRUE(readers.back()->OpenAndWait());
    readers.back()->SendCall(1, kStreamImages);
    readers.back()->SendData(1, message);
  });
}

TEST_F(WireAttackTest, RapidResets) {
  StartAndWaitUntilReady();
  v1::StreamImagesRequest request;
  *request.mutable_parameters() = Parameters(150);
  const std::string message = GrpcMessage(request.SerializeAsString());
  const std::string cancel("\0\0\0\x8", 4);
  const int total = Scaled(10000, 100000);
  int sent = 0;
  const auto round = [&] {
    if (sent >= total) return std::this_thread::sleep_for(std::chrono::milliseconds(50));
    while (sent < total) {
      const auto connection = RawConnection();
      ASSERT_TRUE(connection->OpenAndWait());
      for (uint32_t stream = 1; stream < 20000 && connection->is_open(); stream += 2, ++sent) {
        connection->SendCall(stream, kStreamImages);
        connection->SendFrame(FrameType::kData, kEndStream, stream, message);
        connection->SendFrame(FrameType::kRstStream, 0, stream, cancel);
        if (stream % 64 == 1) connection->Receive(std::chrono::milliseconds(0));
      }
    }
  };
  // gRPC 1.51 begins a call for each of them, however many wait to be ended, and good calls wait
  // behind these: what that takes is bounded by the sender alone, and goes back.
  Attack("resets", round, {.growth_bytes = int64_t{total} * (32 << 10), .p99 = kMaxSharedP99});
  std::printf("%d streams were reset\n", sent);
  EXPECT_GE(sent, total);
}

}  // namespace
}  // namespace tightfit
