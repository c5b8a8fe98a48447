#include "server/telemetry/metrics.h"

#include "server/memory/memory_accounts.h"
#include "tests/support/fake_diffusion_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <memory>
#include <regex>
#include <sstream>
#include <string>

namespace tightfit {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::Not;

// Series of a page by name with labels, as written: `tightfit_x{a="b"}`.
std::map<std::string, double> SeriesOf(const std::string& page) {
  std::map<std::string, double> series;
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line[0] == '#') continue;
    const size_t space = line.rfind(' ');
    EXPECT_TRUE(series.emplace(line.substr(0, space), std::stod(line.substr(space + 1))).second)
        << "twice: " << line;
  }
  return series;
}

std::vector<ModelSpec> Specs() {
  ModelSpec a;
  a.name = "a";
  ModelSpec b;
  b.name = "b";
  return {a, b};
}

class MetricsTest : public testing::Test {
 protected:
  MetricsTest() : registry_(Specs()), metrics_(&registry_, Info()) {}

  static ServerInfo Info() {
    ServerInfo info;
    info.version = "1.2.3";
    info.build_commit = "abc";
    info.libtorch_version = "2.11.0";
    info.device_name = "cpu";
    info.device_memory = [] { return DeviceMemory{1000, 300, 200}; };
    info.start_time = std::chrono::system_clock::time_point(std::chrono::seconds(1700000000));
    return info;
  }

  double Value(const std::string& series) const {
    const auto all = SeriesOf(metrics_.Text());
    const auto found = all.find(series);
    if (found == all.end()) {
      ADD_FAILURE() << "no " << series << " in:\n" << metrics_.Text();
      return -1;
    }
    return found->second;
  }

  ModelRegistry registry_;
  Metrics metrics_;
};

TEST_F(MetricsTest, PrefixesEveryName) {
  for (const auto& [name, value] : SeriesOf(metrics_.Text())) {
    EXPECT_TRUE(name.starts_with("tightfit_")) << name;
  }
}

TEST_F(MetricsTest, StartsKnownSeriesAtZero) {
  for (const char* model : {"a", "b", "unknown"}) {
    for (const char* method : {"GenerateImages", "StreamImages"}) {
      for (const char* code : {"OK", "CANCELLED", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}) {
        EXPECT_EQ(Value(std::string("tightfit_requests_total{code=\"") + code + "\",method=\"" +
                        method + "\",model=\"" + model + "\"}"),
                  0);
      }
    }
  }
  EXPECT_EQ(Value("tightfit_admission_rejections_total{reason=\"queue_full\"}"), 0);
  EXPECT_EQ(Value("tightfit_cancelled_requests_total{model=\"a\",stage=\"denoise\"}"), 0);
  EXPECT_EQ(Value("tightfit_denoise_step_duration_seconds_count{model=\"a\"}"), 0);
  EXPECT_EQ(Value("tightfit_images_total{mime_type=\"image/png\",model=\"b\"}"), 0);
  EXPECT_EQ(Value("tightfit_model_loads_total{model=\"b\",result=\"failed\"}"), 0);
  EXPECT_EQ(Value("tightfit_queue_depth"), 0);
}

TEST_F(MetricsTest, CountsARequestFromStartToEnd) {
  metrics_.OnRequestStarted("StreamImages", "a");
  EXPECT_EQ(Value("tightfit_inflight_requests{model=\"a\"}"), 1);
  metrics_.OnRequestFinished("StreamImages", "a", StatusCode::kOk, milliseconds(750));
  EXPECT_EQ(Value("tightfit_inflight_requests{model=\"a\"}"), 0);
  EXPECT_EQ(Value("tightfit_requests_total{code=\"OK\",method=\"StreamImages\",model=\"a\"}"), 1);
  const std::string labels = "method=\"StreamImages\",model=\"a\"";
  EXPECT_EQ(Value("tightfit_request_duration_seconds_sum{" + labels + "}"), 0.75);
  EXPECT_EQ(Value("tightfit_request_duration_seconds_bucket{" + labels + ",le=\"0.5\"}"), 0);
  EXPECT_EQ(Value("tightfit_request_duration_seconds_bucket{" + labels + ",le=\"1\"}"), 1);
}

TEST_F(MetricsTest, CountsWhatTheExecutorTells) {
  metrics_.OnQueueDepth(3, 2);
  metrics_.OnQueueWait("a", milliseconds(200));
  metrics_.OnStep("a", milliseconds(30));
  metrics_.OnStep("a", milliseconds(50));
  metrics_.OnStage("a", Stage::kDenoise, milliseconds(80));
  metrics_.OnCancelled("b", "queued");
  metrics_.OnLoaded("a", OkStatus(), milliseconds(2000));
  metrics_.OnLoaded("b", Internal("x"), milliseconds(1));
  EXPECT_EQ(Value("tightfit_queue_depth"), 3);
  EXPECT_EQ(Value("tightfit_running_requests"), 2);
  EXPECT_EQ(Value("tightfit_queue_wait_seconds_sum{model=\"a\"}"), 0.2);
  EXPECT_EQ(Value("tightfit_denoise_step_duration_seconds_count{model=\"a\"}"), 2);
  EXPECT_NEAR(Value("tightfit_denoise_step_duration_seconds_sum{model=\"a\"}"), 0.08, 1e-9);
  EXPECT_EQ(Value("tightfit_stage_duration_seconds_count{model=\"a\",stage=\"denoise\"}"), 1);
  EXPECT_EQ(Value("tightfit_cancelled_requests_total{model=\"b\",stage=\"queued\"}"), 1);
  EXPECT_EQ(Value("tightfit_model_loads_total{model=\"a\",result=\"ok\"}"), 1);
  EXPECT_EQ(Value("tightfit_model_loads_total{model=\"b\",result=\"failed\"}"), 1);
  EXPECT_EQ(Value("tightfit_model_load_duration_seconds_sum{model=\"a\"}"), 2);
}

TEST_F(MetricsTest, CountsImagesAndTheirEncoding) {
  metrics_.OnImage("a", "image/png", 4096);
  metrics_.OnImage("a", "image/png", 4096);
  static_cast<RpcObserver&>(metrics_).OnStage("a", Stage::kImageEncode, milliseconds(2));
  EXPECT_EQ(Value("tightfit_images_total{mime_type=\"image/png\",model=\"a\"}"), 2);
  EXPECT_EQ(Value("tightfit_image_pixels_total{model=\"a\"}"), 8192);
  EXPECT_EQ(Value("tightfit_stage_duration_seconds_count{model=\"a\",stage=\"image_encode\"}"), 1);
}

TEST_F(MetricsTest, CountsRefusalsByReasonAndOnlyThose) {
  RequestRecord record;
  record.status = Status(StatusCode::kResourceExhausted, "QUEUE_FULL", "full");
  metrics_.OnRequestRecord(record);
  record.status =
      Status(StatusCode::kUnavailable, "DRAINING", "cut").WithMetadata("stage", "denoise");
  metrics_.OnRequestRecord(record);
  record.status = Status(StatusCode::kInternal, "INTERNAL", "x");
  metrics_.OnRequestRecord(record);
  record.status = OkStatus();
  metrics_.OnRequestRecord(record);
  EXPECT_EQ(Value("tightfit_admission_rejections_total{reason=\"queue_full\"}"), 1);
  EXPECT_EQ(Value("tightfit_admission_rejections_total{reason=\"draining\"}"), 0);
  EXPECT_THAT(metrics_.Text(), Not(HasSubstr("reason=\"internal\"")));
}

TEST_F(MetricsTest, ReadsBytesFromTheAccountsAtEachScrape) {
  MemoryAccount* const weights =
      MemoryAccounts::Instance().Get("a", "unet", MemoryPurpose::kWeights);
  const std::string labels = "{component=\"unet\",model=\"a\",purpose=\"weights\"}";
  weights->Charge(1000);
  weights->Charge(500);
  EXPECT_EQ(Value("tightfit_model_memory_bytes" + labels), 1500);
  weights->Credit(600);
  EXPECT_EQ(Value("tightfit_model_memory_bytes" + labels), 900);
  EXPECT_EQ(Value("tightfit_model_memory_peak_bytes" + labels), 1500);
  weights->Credit(900);
}

TEST_F(MetricsTest, WritesLargeByteCountsWithoutRounding) {
  MemoryAccount* const weights =
      MemoryAccounts::Instance().Get("b", "vae", MemoryPurpose::kScratch);
  weights->Charge(5135149761);
  EXPECT_THAT(metrics_.Text(),
              HasSubstr("tightfit_model_memory_bytes{component=\"vae\",model=\"b\","
                        "purpose=\"scratch\"} 5135149761\n"));
  weights->Credit(5135149761);
}

TEST_F(MetricsTest, FollowsTheStateOfEachModel) {
  const auto state = [&](const char* model, const char* name) {
    return Value(std::string("tightfit_model_state{model=\"") + model + "\",state=\"" + name +
                 "\"}");
  };
  EXPECT_EQ(state("a", "unloaded"), 1);
  EXPECT_THAT(metrics_.Text(), Not(HasSubstr("tightfit_model_info")));
  registry_.SetLoading("a", {});
  EXPECT_EQ(state("a", "unloaded"), 0);
  EXPECT_EQ(state("a", "loading"), 1);
  registry_.SetResident("a", MakeFakeModel("a", std::make_shared<FakeModelControls>()));
  registry_.SetFailed("b", Internal("x"));
  EXPECT_EQ(state("a", "resident"), 1);
  EXPECT_EQ(state("a", "loading"), 0);
  EXPECT_EQ(state("b", "failed"), 1);
}

TEST_F(MetricsTest, TellsHowAResidentModelIsHeldAndForgetsAnUnloadedOne) {
  registry_.SetResident("a", MakeFakeModel("a", std::make_shared<FakeModelControls>()));
  const ModelDescription description = FakeDescription("a");
  EXPECT_EQ(Value("tightfit_model_info{compute_dtype=\"" + description.compute_dtype +
                  "\",format=\"" + description.format + "\",hash=\"" + description.hash +
                  "\",model=\"a\",scope=\"" + description.scope + "\"}"),
            1);
  for (const ComponentDescription& component : description.components) {
    EXPECT_EQ(Value("tightfit_model_weight_bytes{component=\"" + component.name + "\",format=\"" +
                    component.format + "\",model=\"a\"}"),
              component.weight_bytes);
  }
  registry_.SetUnloaded("a");
  EXPECT_THAT(metrics_.Text(), Not(HasSubstr("tightfit_model_weight_bytes")));
}

TEST_F(MetricsTest, TellsTheDeviceAndTheBuild) {
  EXPECT_EQ(Value("tightfit_device_memory_total_bytes{device=\"cpu\"}"), 1000);
  EXPECT_EQ(Value("tightfit_device_memory_used_bytes{device=\"cpu\"}"), 300);
  EXPECT_EQ(Value("tightfit_device_memory_unattributed_bytes{device=\"cpu\"}"), 100);
  EXPECT_EQ(Value("tightfit_build_info{commit=\"abc\",libtorch=\"2.11.0\",version=\"1.2.3\"}"), 1);
  EXPECT_EQ(Value("tightfit_process_start_time_seconds"), 1700000000);
}

TEST_F(MetricsTest, PassesPromtool) {
  if (std::string(TIGHTFIT_PROMTOOL).empty()) GTEST_SKIP() << "no promtool";
  registry_.SetResident("a", MakeFakeModel("a", std::make_shared<FakeModelControls>()));
  metrics_.OnRequestFinished("StreamImages", "a", StatusCode::kOk, milliseconds(750));
  MemoryAccounts::Instance().Get("a", "unet", MemoryPurpose::kWeights);
  const std::string path = testing::TempDir() + "tightfit_metrics_page.txt";
  const std::string report_path = path + ".report";
  const std::unique_ptr<FILE, int (*)(FILE*)> page(std::fopen(path.c_str(), "w"), &std::fclose);
  ASSERT_NE(page, nullptr);
  std::fputs(metrics_.Text().c_str(), page.get());
  std::fflush(page.get());
  const std::string command =
      std::string(TIGHTFIT_PROMTOOL) + " check metrics < " + path + " > " + report_path + " 2>&1";
  const int code = std::system(command.c_str());
  std::string report(4096, '\0');
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(report_path.c_str(), "r"),
                                                   &std::fclose);
  ASSERT_NE(file, nullptr);
  report.resize(std::fread(report.data(), 1, report.size(), file.get()));
  EXPECT_EQ(code, 0) << report;
  EXPECT_EQ(report, "");
}

TEST_F(MetricsTest, CountConnectionsAndThoseThatWereRefused) {
  EXPECT_EQ(Value("tightfit_connections_refused_total{reason=\"limit\"}"), 0) << "from the start";
  metrics_.OnConnections({.open = 7,
                          .refused_for_limit = 3,
                          .refused_for_address_limit = 2,
                          .refused_for_descriptors = 1});
  metrics_.OnConnections({.open = 5,
                          .refused_for_limit = 4,
                          .refused_for_address_limit = 2,
                          .refused_for_descriptors = 1});
  EXPECT_EQ(Value("tightfit_connections"), 5);
  EXPECT_EQ(Value("tightfit_connections_refused_total{reason=\"limit\"}"), 4);
  EXPECT_EQ(Value("tightfit_connections_refused_total{reason=\"address_limit\"}"), 2);
  EXPECT_EQ(Value("tightfit_connections_refused_total{reason=\"descriptors\"}"), 1);
}

TEST_F(MetricsTest, CountCredentialsThatWereReadAgain) {
  EXPECT_EQ(Value("tightfit_credential_reloads_total{result=\"failed\",what=\"tls\"}"), 0);
  metrics_.OnReload("tls", false);
  metrics_.OnReload("tokens", true);
  EXPECT_EQ(Value("tightfit_credential_reloads_total{result=\"failed\",what=\"tls\"}"), 1);
  EXPECT_EQ(Value("tightfit_credential_reloads_total{result=\"ok\",what=\"tokens\"}"), 1);
}

}  // namespace
}  // namespace tightfit
