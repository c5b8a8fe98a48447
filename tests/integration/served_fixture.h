// ServedFixture: a fake_model_server per test, with one model "one".
#ifndef TIGHTFIT_TESTS_INTEGRATION_SERVED_FIXTURE_H_
#define TIGHTFIT_TESTS_INTEGRATION_SERVED_FIXTURE_H_

#include "tests/integration/streaming_request.h"
#include "tests/support/health_client.h"
#include "tests/support/server_process.h"

#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace tightfit {

class ServedFixture : public testing::Test {
 protected:
  // The long runs of `tests/run.sh --full`.
  static bool IsFull() {
    const char* const full = std::getenv("TIGHTFIT_FULL");
    return full != nullptr && std::string(full) == "1";
  }
  static double Milliseconds(std::chrono::nanoseconds duration) {
    return std::chrono::duration<double, std::milli>(duration).count();
  }

  // Starts the server and connects; waits until it listens, not until it is ready.
  void Start(std::vector<std::string> flags = {},
             const std::map<std::string, std::string>& environment = {}) {
    flags.push_back("--model=one=" + scratch_.MakeModel("one") + ",preload=true");
    server_ = ServerProcess::Start(TIGHTFIT_FAKE_SERVER, scratch_, std::move(flags), environment);
    ASSERT_NE(server_, nullptr);
    ASSERT_TRUE(server_->WaitForAddresses()) << server_->process().standard_error();
    channel_ = Connect();
    health_ = std::make_unique<HealthClient>(channel_);
  }

  void StartAndWaitUntilReady(std::vector<std::string> flags = {},
                              const std::map<std::string, std::string>& environment = {}) {
    ASSERT_NO_FATAL_FAILURE(Start(std::move(flags), environment));
    ASSERT_TRUE(WaitForHealth("", "SERVING")) << server_->process().standard_error();
  }

  // A connection of its own, however many others there are.
  std::shared_ptr<grpc::Channel> Connect() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(server_->listen(), grpc::InsecureChannelCredentials(),
                                     arguments);
  }

  bool WaitForHealth(const std::string& service, const std::string& expected) {
    return WaitUntil([&] { return health_->Check(service) == expected; });
  }

  static v1::ImageParameters Parameters(int step_count) {
    v1::ImageParameters parameters;
    parameters.set_prompt("a prompt");
    parameters.set_step_count(step_count);
    return parameters;
  }

  void Terminate() { server_->process().Signal(SIGTERM); }
  // The exit code, -1000 where it does not come within `limit`.
  int ExitCode(std::chrono::milliseconds limit = std::chrono::seconds(20)) {
    return server_->process().WaitForExit(limit).value_or(-1000);
  }
  // A number of the server's /proc/PID/status: "VmRSS" (KiB), "Threads".
  int64_t ProcessStatus(const std::string& name) const {
    std::ifstream status("/proc/" + std::to_string(server_->process().pid()) + "/status");
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with(name + ":")) return std::stoll(line.substr(name.size() + 1));
    }
    ADD_FAILURE() << "no " << name;
    return 0;
  }
  std::string Log() const { return server_->process().standard_error(); }

  ScratchDirectory scratch_;
  std::unique_ptr<ServerProcess> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<HealthClient> health_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_INTEGRATION_SERVED_FIXTURE_H_
