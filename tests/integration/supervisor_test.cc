// A server under a supervisor that starts it again whenever it ends.
#include "server/app/serve.h"
#include "tests/integration/served_fixture.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace tightfit {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

// Starts a server on one address, again after each end, until it is told to stop.
class Supervisor {
 public:
  Supervisor(const ScratchDirectory& scratch, std::map<std::string, std::string> environment)
      : arguments_{TIGHTFIT_FAKE_SERVER, "--listen=unix:" + scratch.Path("socket"),
                   "--metrics-listen=none",
                   "--model=one=" + scratch.MakeModel("one") + ",preload=true"},
        environment_(std::move(environment)),
        thread_([this] { Run(); }) {}

  ~Supervisor() {
    stopping_ = true;
    Signal(SIGKILL);
    thread_.join();
  }

  void Signal(int signal) {
    const std::lock_guard lock(mutex_);
    if (process_ != nullptr && !process_->has_exited()) process_->Signal(signal);
  }

  std::vector<int> exit_codes() {
    const std::lock_guard lock(mutex_);
    return exit_codes_;
  }

 private:
  void Run() {
    while (!stopping_) {
      {
        const std::lock_guard lock(mutex_);
        process_ = ChildProcess::Start(arguments_, environment_);
      }
      while (!stopping_ && !process_->has_exited()) {
        std::this_thread::sleep_for(milliseconds(2));
      }
      const std::lock_guard lock(mutex_);
      if (process_->has_exited()) {
        exit_codes_.push_back(process_->WaitForExit(milliseconds(0)).value_or(-1000));
      }
    }
  }

  const std::vector<std::string> arguments_;
  const std::map<std::string, std::string> environment_;
  std::mutex mutex_;
  std::unique_ptr<ChildProcess> process_;
  std::vector<int> exit_codes_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

class SupervisorTest : public ServedFixture {
 protected:
  std::shared_ptr<grpc::Channel> ConnectToSocket() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 20);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 50);
    return grpc::CreateCustomChannel("unix:" + scratch_.Path("socket"),
                                     grpc::InsecureChannelCredentials(), arguments);
  }

  // Sends one request, again after each UNAVAILABLE, as a client with retries does.
  static grpc::Status SendUntilAnswered(const std::shared_ptr<grpc::Channel>& channel) {
    const auto stub = v1::ImageGenerationService::NewStub(channel);
    const auto give_up_at = steady_clock::now() + seconds(60);
    for (;;) {
      grpc::ClientContext context;
      v1::GenerateImagesRequest request;
      *request.mutable_parameters() = Parameters(4);
      v1::GenerateImagesResponse response;
      const grpc::Status status = stub->GenerateImages(&context, request, &response);
      if (status.error_code() != grpc::StatusCode::UNAVAILABLE ||
          steady_clock::now() > give_up_at) {
        return status;
      }
      std::this_thread::sleep_for(milliseconds(10));
    }
  }
};

TEST_F(SupervisorTest, LosesNoRequestOfAClientWithRetriesWhenTheServerIsKilledUnderLoad) {
  constexpr int kClients = 8;
  constexpr int kKills = 5;
  Supervisor supervisor(scratch_, {{"FAKE_STEP_MILLISECONDS", "1"}});
  std::atomic<bool> done{false};
  std::atomic<int> answered{0};
  std::vector<std::string> failures;
  std::mutex failures_mutex;
  std::vector<std::thread> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back([&] {
      const std::shared_ptr<grpc::Channel> channel = ConnectToSocket();
      while (!done) {
        const grpc::Status status = SendUntilAnswered(channel);
        if (status.ok()) {
          ++answered;
        } else {
          const std::lock_guard lock(failures_mutex);
          failures.push_back(status.error_message());
        }
      }
    });
  }
  milliseconds slowest{0};
  for (int kill = 0; kill < kKills; ++kill) {
    // Answered requests tell that the server is ready and busy.
    const int before = answered;
    ASSERT_TRUE(WaitUntil([&] { return answered >= before + 3 * kClients; }, seconds(60)));
    std::this_thread::sleep_for(milliseconds(7 * kill));
    supervisor.Signal(SIGKILL);
    const auto killed_at = steady_clock::now();
    EXPECT_TRUE(
        WaitUntil([&] { return static_cast<int>(supervisor.exit_codes().size()) == kill + 1; }));
    HealthClient health(ConnectToSocket());
    EXPECT_TRUE(WaitUntil([&] { return health.Check("") == "SERVING"; }));
    slowest = std::max(slowest, std::chrono::ceil<milliseconds>(steady_clock::now() - killed_at));
  }
  done = true;
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(failures, std::vector<std::string>());
  EXPECT_EQ(supervisor.exit_codes(), std::vector<int>(kKills, -SIGKILL));
  std::printf("%d requests answered; ready again after %lld ms at most\n", answered.load(),
              static_cast<long long>(slowest.count()));
  // On an idle machine far below: processes start slowly where others compute.
  EXPECT_LE(slowest, seconds(10));
}

TEST_F(SupervisorTest, ServesAgainAfterItsDeviceWasLost) {
  Supervisor supervisor(scratch_, {{"FAKE_CUDA_ERROR", scratch_.Path("error")}});
  const std::shared_ptr<grpc::Channel> channel = ConnectToSocket();
  ASSERT_TRUE(SendUntilAnswered(channel).ok());
  scratch_.Write("error", "719");
  grpc::Status answer;
  std::thread client([&] { answer = SendUntilAnswered(channel); });
  EXPECT_TRUE(WaitUntil([&] { return !supervisor.exit_codes().empty(); }));
  scratch_.Remove("error");
  client.join();
  EXPECT_TRUE(answer.ok()) << answer.error_message();
  EXPECT_EQ(supervisor.exit_codes().front(), kExitDevice);
}

TEST_F(SupervisorTest, FailsNoneOfSixteenRequestsInFlightAtSigterm) {
  StartAndWaitUntilReady({"--max-running-requests=16"}, {{"FAKE_STEP_MILLISECONDS", "5"}});
  std::vector<std::unique_ptr<StreamingRequest>> requests;
  for (int i = 0; i < 16; ++i) {
    requests.push_back(std::make_unique<StreamingRequest>(channel_, Parameters(20)));
  }
  for (const auto& request : requests) ASSERT_TRUE(request->WaitForStarted());
  Terminate();
  for (const auto& request : requests) {
    const grpc::Status status = request->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(request->finished_image_count(), 1);
  }
  EXPECT_EQ(ExitCode(), kExitDrained) << Log();
}

}  // namespace
}  // namespace tightfit
