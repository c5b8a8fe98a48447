// GET /metrics of a whole process says what the services say.
#include "server/app/serve.h"
#include "tests/integration/served_fixture.h"
#include "tightfit/v1/model.grpc.pb.h"
#include "tightfit/v1/server.grpc.pb.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <map>
#include <sstream>

namespace tightfit {
namespace {

class MetricsScrapeTest : public ServedFixture {
 protected:
  std::string Scrape() const {
    const auto response = httplib::Client("http://" + server_->metrics_listen()).Get("/metrics");
    return response && response->status == 200 ? response->body : "";
  }

  static std::map<std::string, double> SeriesOf(const std::string& page) {
    std::map<std::string, double> series;
    std::istringstream lines(page);
    for (std::string line; std::getline(lines, line);) {
      if (line.empty() || line[0] == '#') continue;
      const size_t space = line.rfind(' ');
      series.emplace(line.substr(0, space), std::stod(line.substr(space + 1)));
    }
    return series;
  }

  v1::Model GetModel(const std::string& name) const {
    grpc::ClientContext context;
    v1::GetModelRequest request;
    request.set_name(name);
    v1::GetModelResponse response;
    const grpc::Status status =
        v1::ModelService::NewStub(channel_)->GetModel(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.model();
  }
};

TEST_F(MetricsScrapeTest, TellsTheBytesThatGetModelTells) {
  StartAndWaitUntilReady({"--model=two=" + scratch_.MakeModel("two") + ",preload=true"});
  const std::map<std::string, double> series = SeriesOf(Scrape());
  int compared = 0;
  for (const char* name : {"one", "two"}) {
    const v1::Model model = GetModel(name);
    const std::string of_model = std::string("model=\"") + name + "\"";
    for (const v1::Component& component : model.components()) {
      EXPECT_EQ(series.at("tightfit_model_weight_bytes{component=\"" + component.name() +
                          "\",format=\"" + component.format() + "\"," + of_model + "}"),
                static_cast<double>(component.weight_bytes()));
      EXPECT_GT(component.weight_bytes(), 0);
      for (const v1::PurposeBytes& bytes : component.memory()) {
        const std::string labels = "{component=\"" + component.name() + "\"," + of_model +
                                   ",purpose=\"" + bytes.purpose() + "\"}";
        EXPECT_EQ(series.at("tightfit_model_memory_bytes" + labels),
                  static_cast<double>(bytes.current_bytes()));
        EXPECT_EQ(series.at("tightfit_model_memory_peak_bytes" + labels),
                  static_cast<double>(bytes.peak_bytes()));
        ++compared;
      }
    }
    EXPECT_EQ(series.at("tightfit_model_info{compute_dtype=\"" + model.compute_dtype() +
                        "\",format=\"" + model.format() + "\",hash=\"" + model.hash() + "\"," +
                        of_model + ",scope=\"" + model.scope() + "\"}"),
              1);
    EXPECT_EQ(series.at("tightfit_model_state{" + of_model + ",state=\"resident\"}"), 1);
  }
  EXPECT_GE(compared, 16) << "two models, four components, weights and scratch";
}

TEST_F(MetricsScrapeTest, TellsTheDeviceThatGetServerInfoTells) {
  StartAndWaitUntilReady();
  const std::map<std::string, double> series = SeriesOf(Scrape());
  grpc::ClientContext context;
  v1::GetServerInfoResponse info;
  ASSERT_TRUE(v1::ServerService::NewStub(channel_)->GetServerInfo(&context, {}, &info).ok());
  const auto device = [&](const std::string& kind) {
    return series.at("tightfit_device_memory_" + kind + "_bytes{device=\"" + info.device().name() +
                     "\"}");
  };
  EXPECT_EQ(device("total"), static_cast<double>(info.device().total_bytes()));
  EXPECT_EQ(device("used") - device("unattributed"),
            static_cast<double>(info.device().attributed_bytes()));
  EXPECT_GT(info.device().attributed_bytes(), 0);
  // The resident set moves between the two questions.
  EXPECT_NEAR(device("used"), static_cast<double>(info.device().used_bytes()), 16 << 20);
}

TEST_F(MetricsScrapeTest, CountsARequest) {
  StartAndWaitUntilReady();
  v1::ImageParameters parameters = Parameters(5);
  parameters.set_image_count(2);
  ASSERT_TRUE(StreamingRequest(channel_, parameters).Finish().ok());
  parameters.set_width_px(-1);
  ASSERT_FALSE(StreamingRequest(channel_, parameters).Finish().ok());
  // A call is counted once its client has been told the end, so perhaps after that.
  const std::string failed =
      "tightfit_requests_total{code=\"INVALID_ARGUMENT\",method=\"StreamImages\",model=\"one\"}";
  ASSERT_TRUE(WaitUntil([&] { return SeriesOf(Scrape()).at(failed) == 1; }));
  const std::map<std::string, double> series = SeriesOf(Scrape());
  EXPECT_EQ(series.at("tightfit_requests_total{code=\"OK\",method=\"StreamImages\",model=\"one\"}"),
            1);
  EXPECT_EQ(series.at("tightfit_denoise_step_duration_seconds_count{model=\"one\"}"), 5);
  EXPECT_EQ(series.at("tightfit_images_total{mime_type=\"image/png\",model=\"one\"}"), 2);
  EXPECT_EQ(series.at("tightfit_image_pixels_total{model=\"one\"}"), 2 * 64 * 64);
  EXPECT_EQ(series.at("tightfit_queue_wait_seconds_count{model=\"one\"}"), 1);
  EXPECT_EQ(series.at("tightfit_inflight_requests{model=\"one\"}"), 0);
  EXPECT_EQ(series.at("tightfit_queue_depth"), 0);
  EXPECT_EQ(series.at("tightfit_running_requests"), 0);
  for (const char* stage : {"text_encode", "denoise", "vae_decode", "image_encode"}) {
    EXPECT_GE(
        series.at(std::string("tightfit_stage_duration_seconds_count{model=\"one\",stage=\"") +
                  stage + "\"}"),
        1)
        << stage;
  }
  EXPECT_EQ(series.at("tightfit_model_loads_total{model=\"one\",result=\"ok\"}"), 1);
}

TEST_F(MetricsScrapeTest, CountsARefusalByAFullQueue) {
  scratch_.Write("hold", "");
  StartAndWaitUntilReady({"--max-running-requests=1", "--max-queued-requests=1"},
                         {{"FAKE_STEP_HOLD", scratch_.Path("hold")}});
  StreamingRequest running(channel_, Parameters(1));
  ASSERT_TRUE(running.WaitForStarted());
  StreamingRequest queued(channel_, Parameters(1));
  ASSERT_TRUE(queued.WaitForQueued());
  EXPECT_EQ(StreamingRequest(channel_, Parameters(1)).Finish().error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  ASSERT_TRUE(WaitUntil([&] {
    return SeriesOf(Scrape()).at("tightfit_admission_rejections_total{reason=\"queue_full\"}") == 1;
  }));
  EXPECT_EQ(SeriesOf(Scrape()).at("tightfit_queue_depth"), 1);
  EXPECT_EQ(SeriesOf(Scrape()).at("tightfit_running_requests"), 1);
  scratch_.Remove("hold");
  EXPECT_TRUE(running.Finish().ok());
  EXPECT_TRUE(queued.Finish().ok());
}

TEST_F(MetricsScrapeTest, PassesPromtool) {
  if (std::string(TIGHTFIT_PROMTOOL).empty()) GTEST_SKIP() << "no promtool";
  StartAndWaitUntilReady({"--model=broken=" + scratch_.MakeModel("broken") + ",preload=true"},
                         {{"FAKE_FAILING_MODEL", "broken"}});
  ASSERT_TRUE(StreamingRequest(channel_,
                               [] {
                                 v1::ImageParameters parameters = Parameters(2);
                                 parameters.set_model("one");
                                 return parameters;
                               }())
                  .Finish()
                  .ok());
  const std::string page = scratch_.Write("page.txt", Scrape());
  const ChildOutcome outcome =
      RunChild({"/bin/sh", "-c", std::string(TIGHTFIT_PROMTOOL) + " check metrics < " + page});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.standard_output + outcome.standard_error, "");
}

}  // namespace
}  // namespace tightfit
