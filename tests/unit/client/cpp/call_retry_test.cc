#include "client/cpp/generation_client.h"
#include "tests/unit/client/bound_port.h"
#include "tests/unit/client/scripted_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace tightfit::client {
namespace {

using std::chrono::milliseconds;
using testing::BoundPort;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::MakeError;
using testing::ScriptedServer;
using testing::StartedEvent;
using testing::StreamWriter;

grpc::Status Loading() {
  return MakeError({.code = grpc::StatusCode::UNAVAILABLE,
                    .message = "the model is loading",
                    .reason = "MODEL_LOADING",
                    .retry_milliseconds = 7});
}

TEST(CallRetryTest, RetriesUnavailableUntilItWorks) {
  int calls = 0;
  const ScriptedServer server({.get_server_info = [&](v1::GetServerInfoResponse& response) {
    response.set_version("9");
    return ++calls < 3 ? Loading() : grpc::Status::OK;
  }});
  GenerationClient client({.server = server.address(), .first_retry_delay = milliseconds(1)});
  std::vector<std::string> reasons;
  std::vector<milliseconds> delays;
  const auto info = client.GetServerInfo({.on_retry = [&](const Status& cause, milliseconds delay) {
    reasons.push_back(cause.reason());
    delays.push_back(delay);
  }});
  ASSERT_TRUE(info.ok()) << info.status().message();
  EXPECT_EQ(info->version, "9");
  EXPECT_EQ(server.call_count(), 3);
  EXPECT_THAT(reasons, ElementsAre("MODEL_LOADING", "MODEL_LOADING"));
  EXPECT_THAT(delays, ElementsAre(milliseconds(7), milliseconds(7)));
}

TEST(CallRetryTest, GivesUpAfterTheLastAttempt) {
  const ScriptedServer server(
      {.get_server_info = [&](v1::GetServerInfoResponse&) { return Loading(); }});
  GenerationClient client(
      {.server = server.address(), .max_attempts = 3, .first_retry_delay = milliseconds(1)});
  const auto info = client.GetServerInfo();
  EXPECT_EQ(info.status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(info.status().reason(), "MODEL_LOADING");
  EXPECT_EQ(info.status().retry_after(), milliseconds(7));
  EXPECT_EQ(server.call_count(), 3);
}

TEST(CallRetryTest, DoublesItsOwnDelayUpToTheLimit) {
  const ScriptedServer server({.get_server_info = [&](v1::GetServerInfoResponse&) {
    return MakeError({.code = grpc::StatusCode::UNAVAILABLE, .reason = "DRAINING"});
  }});
  GenerationClient client({.server = server.address(),
                           .max_attempts = 5,
                           .first_retry_delay = milliseconds(2),
                           .max_retry_delay = milliseconds(9)});
  std::vector<milliseconds> delays;
  const auto info = client.GetServerInfo(
      {.on_retry = [&](const Status&, milliseconds delay) { delays.push_back(delay); }});
  EXPECT_FALSE(info.ok());
  EXPECT_THAT(delays,
              ElementsAre(milliseconds(2), milliseconds(4), milliseconds(8), milliseconds(9)));
}

TEST(CallRetryTest, RetriesNoOtherCode) {
  for (int code = 1; code <= 16; ++code) {
    if (code == grpc::StatusCode::UNAVAILABLE) continue;
    const ScriptedServer server({.get_server_info = [&](v1::GetServerInfoResponse&) {
      return MakeError({.code = static_cast<grpc::StatusCode>(code),
                        .reason = "SOME_REASON",
                        .retry_milliseconds = 1});
    }});
    GenerationClient client({.server = server.address(), .first_retry_delay = milliseconds(1)});
    EXPECT_EQ(client.GetServerInfo().status().reason(), "SOME_REASON");
    EXPECT_EQ(server.call_count(), 1) << "code " << code;
  }
}

TEST(CallRetryTest, RetriesAStreamBeforeItsFirstEvent) {
  int calls = 0;
  const ScriptedServer server(
      {.stream_images = [&](grpc::ServerContext&, const v1::StreamImagesRequest& request,
                            StreamWriter& writer) {
        return ++calls < 2 ? Loading() : testing::StreamWholeRequest(request, writer);
      }});
  GenerationClient client({.server = server.address(), .first_retry_delay = milliseconds(1)});
  EXPECT_TRUE(client.StreamImages({.prompt = "apple"}, [](Event) {}).ok());
  EXPECT_EQ(server.call_count(), 2);
}

TEST(CallRetryTest, NeverRetriesAStreamAfterItsFirstEvent) {
  const ScriptedServer server(
      {.stream_images = [&](grpc::ServerContext&, const v1::StreamImagesRequest&,
                            StreamWriter& writer) {
        writer.Write(testing::QueuedEvent(1));
        return Loading();
      }});
  GenerationClient client({.server = server.address(), .first_retry_delay = milliseconds(1)});
  EXPECT_EQ(client.StreamImages({.prompt = "apple"}, [](Event) {}).reason(), "MODEL_LOADING");
  EXPECT_EQ(server.call_count(), 1);
}

class WatchRetryTest : public ::testing::Test {
 protected:
  // Each call tells one model and ends with `end`; after three of them nothing is told.
  void Watch(const grpc::Status& end, int32_t max_attempts) {
    const ScriptedServer server({.watch_models = [&](testing::ModelWriter& writer) {
      if (++calls_ > 3) return Loading();
      v1::WatchModelsResponse response;
      response.mutable_model()->set_name("model-" + std::to_string(calls_));
      writer.Write(response);
      return end;
    }});
    GenerationClient client({.server = server.address(),
                             .max_attempts = max_attempts,
                             .first_retry_delay = milliseconds(1)});
    status_ = client.WatchModels([this](const Model& model) { names_.push_back(model.name); });
  }

  int calls_ = 0;
  std::vector<std::string> names_;
  Status status_;
};

TEST_F(WatchRetryTest, BeginsAgainWithTheServerAndCountsAnewFromEachModel) {
  Watch(Loading(), 2);
  EXPECT_THAT(names_, ElementsAre("model-1", "model-2", "model-3"));
  EXPECT_EQ(status_.reason(), "MODEL_LOADING");
  EXPECT_EQ(calls_, 4) << "the fourth told nothing, and was the second attempt";
}

TEST_F(WatchRetryTest, EndsWithTheFirstFailureWhereNothingIsToBeRetried) {
  Watch(Loading(), 1);
  EXPECT_EQ(calls_, 1);
  calls_ = 0;
  Watch(MakeError({.code = grpc::StatusCode::INTERNAL, .reason = "BROKEN"}), 4);
  EXPECT_EQ(calls_, 1);
}

TEST(CallRetryTest, DoesNotWaitPastTheDeadline) {
  const ScriptedServer server({.get_server_info = [&](v1::GetServerInfoResponse&) {
    return MakeError({.code = grpc::StatusCode::UNAVAILABLE,
                      .reason = "DRAINING",
                      .retry_milliseconds = 60'000});
  }});
  GenerationClient client({.server = server.address(), .max_retry_delay = milliseconds(60'000)});
  EXPECT_EQ(client.GetServerInfo({.timeout = milliseconds(5000)}).status().reason(), "DRAINING");
  EXPECT_EQ(server.call_count(), 1);
}

TEST(CallRetryTest, CancelEndsTheWaitForARetry) {
  const ScriptedServer server({.get_server_info = [&](v1::GetServerInfoResponse&) {
    return MakeError({.code = grpc::StatusCode::UNAVAILABLE,
                      .reason = "DRAINING",
                      .retry_milliseconds = 60'000});
  }});
  GenerationClient client({.server = server.address(), .max_retry_delay = milliseconds(60'000)});
  std::stop_source stop;
  const auto start = std::chrono::steady_clock::now();
  const auto info =
      client.GetServerInfo({.cancel = stop.get_token(),
                            .on_retry = [&](const Status&, milliseconds) { stop.request_stop(); }});
  EXPECT_EQ(info.status().code(), StatusCode::kCancelled);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

TEST(CallRetryTest, SaysWhoDidNotAnswerWithinTheConnectTimeout) {
  const BoundPort refused(/*listens=*/false);
  const BoundPort silent(/*listens=*/true);
  for (const BoundPort* port : {&refused, &silent}) {
    GenerationClient client({.server = port->address(), .connect_timeout = milliseconds(300)});
    const auto start = std::chrono::steady_clock::now();
    const auto info = client.GetServerInfo();
    const auto elapsed = std::chrono::steady_clock::now() - start;
    EXPECT_EQ(info.status().code(), StatusCode::kUnavailable);
    EXPECT_EQ(info.status().reason(), kCannotConnect);
    EXPECT_EQ(info.status().message(), "cannot connect to " + port->address() + " within 0.3 s");
    EXPECT_GE(elapsed, milliseconds(300));
    EXPECT_LT(elapsed, milliseconds(3000));
  }
}

TEST(CallRetryTest, DeadlineBoundsTheConnectionToo) {
  const BoundPort refused(/*listens=*/false);
  GenerationClient client({.server = refused.address(), .connect_timeout = milliseconds(60'000)});
  const auto start = std::chrono::steady_clock::now();
  const auto info = client.GetServerInfo({.timeout = milliseconds(200)});
  EXPECT_EQ(info.status().reason(), kCannotConnect);
  EXPECT_LT(std::chrono::steady_clock::now() - start, milliseconds(5000));
}

TEST(CallRetryTest, CancelEndsTheWaitForAConnection) {
  const BoundPort refused(/*listens=*/false);
  GenerationClient client({.server = refused.address(), .connect_timeout = milliseconds(60'000)});
  std::stop_source stop;
  std::thread canceller([&] { stop.request_stop(); });
  const auto info = client.GetServerInfo({.cancel = stop.get_token()});
  canceller.join();
  EXPECT_EQ(info.status().code(), StatusCode::kCancelled);
}

TEST(CallRetryTest, SaysThatARunningCallLostItsConnection) {
  std::optional<ScriptedServer> server;
  server.emplace(ScriptedServer::Script{.stream_images = [](grpc::ServerContext& context,
                                                            const v1::StreamImagesRequest&,
                                                            StreamWriter& writer) {
    writer.Write(StartedEvent(1, 1));
    testing::WaitForCancel(context);
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone");
  }});
  GenerationClient client({.server = server->address()});
  std::thread stopper;
  const Status status = client.StreamImages(
      {.prompt = "apple"}, [&](Event) { stopper = std::thread([&] { server->ShutdownNow(); }); });
  stopper.join();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_EQ(status.reason(), kConnectionLost);
  EXPECT_THAT(status.message(), HasSubstr("was lost"));
}

}  // namespace
}  // namespace tightfit::client
