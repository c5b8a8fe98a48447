#include "server/telemetry/metrics.h"

#include "server/telemetry/metrics_snapshot.h"
#include "server/telemetry/status_code_name.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/metric_family.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <sstream>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

using prometheus::Labels;
using prometheus::MetricFamily;

const prometheus::Histogram::BucketBoundaries kRequestSeconds = {
    0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600};
const prometheus::Histogram::BucketBoundaries kStepSeconds = {0.005, 0.01, 0.02, 0.05, 0.1, 0.2,
                                                              0.5,   1,    2,    5,    10,  20};
const prometheus::Histogram::BucketBoundaries kStageSeconds = {
    0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600};
const prometheus::Histogram::BucketBoundaries kLoadSeconds = {0.1, 0.5, 1,  2.5, 5,  10,
                                                              20,  30,  60, 120, 300};

constexpr char kUnknownModel[] = "unknown";
constexpr std::array<const char*, 2> kImageMethods = {"StreamImages", "GenerateImages"};
constexpr std::array<StatusCode, 10> kExpectedCodes = {
    StatusCode::kOk,           StatusCode::kCancelled,          StatusCode::kInvalidArgument,
    StatusCode::kNotFound,     StatusCode::kDeadlineExceeded,   StatusCode::kResourceExhausted,
    StatusCode::kUnavailable,  StatusCode::kFailedPrecondition, StatusCode::kInternal,
    StatusCode::kUnimplemented};
// Reasons with which a request is refused before it is queued.
constexpr std::array<std::string_view, 5> kAdmissionReasons = {
    "QUEUE_FULL", "DRAINING", "MODEL_LOADING", "MODEL_FAILED", "EXCEEDS_DEVICE_MEMORY"};
constexpr std::array<Stage, 5> kStages = {Stage::kModelLoad, Stage::kTextEncode, Stage::kDenoise,
                                          Stage::kVaeDecode, Stage::kImageEncode};
constexpr std::array<EvictionCause, 3> kEvictionCauses = {
    EvictionCause::kRequest, EvictionCause::kIdle, EvictionCause::kMemory};
const prometheus::Histogram::BucketBoundaries kErrorRatios = {-0.5, -0.2, -0.1, -0.05, -0.02, 0.0,
                                                              0.02, 0.05, 0.1,  0.2,   0.5,   1.0};

const char* EvictionLabel(EvictionCause cause) {
  switch (cause) {
    case EvictionCause::kRequest:
      return "request";
    case EvictionCause::kIdle:
      return "idle";
    case EvictionCause::kMemory:
      return "lru";
  }
  return "unknown";
}

double Seconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double>(duration).count();
}

std::string LowerCase(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return lower;
}

}  // namespace

class Metrics::Impl {
 public:
  Impl(const ModelRegistry* models, const ServerInfo& info, const DeviceLedger* ledger)
      : models_(models), snapshot_(models, ledger, info.device_name, info.device_memory) {
    Gauges("tightfit_build_info", "Version, commit and LibTorch of the server; always 1.")
        .Add({{"version", info.version},
              {"commit", info.build_commit},
              {"libtorch", info.libtorch_version}})
        .Set(1);
    Gauges("tightfit_process_start_time_seconds", "When the process started, in Unix time.")
        .Add({})
        .Set(std::chrono::duration<double>(info.start_time.time_since_epoch()).count());
    InitialiseSeries();
  }

  std::vector<MetricFamily> Collect() const {
    std::vector<MetricFamily> families = registry_.Collect();
    snapshot_.AddTo(&families);
    std::sort(families.begin(), families.end(),
              [](const MetricFamily& a, const MetricFamily& b) { return a.name < b.name; });
    return families;
  }

 private:
  friend class Metrics;

  // Every series whose labels are known exists from the start, so that rates see the first event.
  void InitialiseSeries() {
    std::vector<std::string> names = {kUnknownModel};
    for (const ModelSnapshot& model : models_->List()) names.push_back(model.spec.name);
    for (const std::string& model : names) {
      for (const char* method : kImageMethods) {
        for (const StatusCode code : kExpectedCodes)
          requests_.Add(RequestLabels(method, model, code));
        request_duration_.Add({{"model", model}, {"method", method}}, kRequestSeconds);
      }
      inflight_.Add({{"model", model}});
      if (model == kUnknownModel) continue;
      queue_wait_.Add({{"model", model}}, kRequestSeconds);
      step_duration_.Add({{"model", model}}, kStepSeconds);
      load_duration_.Add({{"model", model}}, kLoadSeconds);
      images_.Add({{"model", model}, {"mime_type", "image/png"}});
      vae_fallbacks_.Add({{"model", model}});
      image_pixels_.Add({{"model", model}});
      cancelled_.Add({{"model", model}, {"stage", "queued"}});
      for (const Stage stage : kStages) {
        const Labels labels = {{"model", model}, {"stage", std::string(StageName(stage))}};
        stage_duration_.Add(labels, kStageSeconds);
        cancelled_.Add(labels);
        if (stage != Stage::kModelLoad && stage != Stage::kImageEncode) out_of_memory_.Add(labels);
      }
      for (const char* result : {"ok", "failed"})
        loads_.Add({{"model", model}, {"result", result}});
      for (const EvictionCause cause : kEvictionCauses) {
        evictions_.Add({{"model", model}, {"reason", EvictionLabel(cause)}});
      }
      prediction_error_.Add({{"model", model}}, kErrorRatios);
    }
    for (const std::string_view reason : kAdmissionReasons) {
      rejections_.Add({{"reason", LowerCase(reason)}});
    }
    queue_depth_.Set(0);
    running_.Set(0);
    for (const char* what : {"tls", "tokens"}) {
      for (const char* result : {"ok", "failed"}) {
        reloads_.Add({{"what", what}, {"result", result}});
      }
    }
  }

  static Labels RequestLabels(const std::string& method, const std::string& model,
                              StatusCode code) {
    return {{"model", model}, {"method", method}, {"code", std::string(StatusCodeName(code))}};
  }

  prometheus::Family<prometheus::Counter>& Counters(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry_);
  }
  prometheus::Family<prometheus::Gauge>& Gauges(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry_);
  }
  prometheus::Family<prometheus::Histogram>& Histograms(const char* name, const char* help) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry_);
  }

  const ModelRegistry* const models_;
  const MetricsSnapshot snapshot_;
  prometheus::Registry registry_;

  prometheus::Family<prometheus::Counter>& requests_ =
      Counters("tightfit_requests_total", "Finished calls by model, method and status code.");
  prometheus::Family<prometheus::Histogram>& request_duration_ = Histograms(
      "tightfit_request_duration_seconds", "From a call's arrival to its last byte handed over.");
  prometheus::Family<prometheus::Gauge>& inflight_ =
      Gauges("tightfit_inflight_requests", "Calls that have begun and not finished.");
  prometheus::Gauge& queue_depth_ =
      Gauges("tightfit_queue_depth", "Requests that wait for the device.").Add({});
  prometheus::Gauge& running_ =
      Gauges("tightfit_running_requests", "Requests that advance in turns on the device.").Add({});
  prometheus::Family<prometheus::Histogram>& queue_wait_ =
      Histograms("tightfit_queue_wait_seconds", "Time that requests waited for the device.");
  prometheus::Family<prometheus::Histogram>& stage_duration_ =
      Histograms("tightfit_stage_duration_seconds", "Time in one stage of a request.");
  prometheus::Family<prometheus::Histogram>& step_duration_ =
      Histograms("tightfit_denoise_step_duration_seconds", "Time of one denoising step.");
  prometheus::Family<prometheus::Counter>& images_ =
      Counters("tightfit_images_total", "Encoded images.");
  prometheus::Family<prometheus::Counter>& image_pixels_ =
      Counters("tightfit_image_pixels_total", "Pixels of encoded images.");
  prometheus::Family<prometheus::Counter>& vae_fallbacks_ =
      Counters("tightfit_vae_fp32_fallbacks_total",
               "Images that were decoded again in fp32, the result in 16 bits not being finite.");
  prometheus::Family<prometheus::Counter>& cancelled_ =
      Counters("tightfit_cancelled_requests_total",
               "Requests that ended early, by the stage in which: cancelled, past their deadline.");
  prometheus::Family<prometheus::Counter>& rejections_ =
      Counters("tightfit_admission_rejections_total", "Requests refused before they were queued.");
  prometheus::Family<prometheus::Counter>& loads_ =
      Counters("tightfit_model_loads_total", "Attempts to load a model.");
  prometheus::Family<prometheus::Counter>& evictions_ =
      Counters("tightfit_model_evictions_total",
               "Models that left the device: on request, unused, or to make room (lru).");
  prometheus::Family<prometheus::Counter>& out_of_memory_ =
      Counters("tightfit_out_of_memory_total",
               "Calls of a model that ran out of device memory; each is tried once more.");
  prometheus::Family<prometheus::Histogram>& prediction_error_ =
      Histograms("tightfit_memory_prediction_error_ratio",
                 "What was set aside for a request over what it took at most, less 1; of requests "
                 "that ran alone.");
  prometheus::Family<prometheus::Histogram>& load_duration_ =
      Histograms("tightfit_model_load_duration_seconds", "Time of one attempt to load a model.");
  prometheus::Gauge& connections_ =
      Gauges("tightfit_connections", "Open connections of the gRPC port.").Add({});
  prometheus::Family<prometheus::Counter>& refused_connections_ =
      Counters("tightfit_connections_refused_total",
               "Connections that were closed at once: all places taken, all of one address, or no "
               "descriptor left.");
  prometheus::Counter& refused_for_limit_ = refused_connections_.Add({{"reason", "limit"}});
  prometheus::Counter& refused_for_address_limit_ =
      refused_connections_.Add({{"reason", "address_limit"}});
  prometheus::Counter& refused_for_descriptors_ =
      refused_connections_.Add({{"reason", "descriptors"}});
  prometheus::Family<prometheus::Counter>& reloads_ =
      Counters("tightfit_credential_reloads_total",
               "Changed certificates (tls) and tokens that were read again.");
};

Metrics::Metrics(const ModelRegistry* registry, const ServerInfo& info, const DeviceLedger* ledger)
    : impl_(std::make_unique<Impl>(registry, info, ledger)) {}
Metrics::~Metrics() = default;

std::string Metrics::Text() const {
  std::ostringstream text;
  prometheus::TextSerializer().Serialize(text, impl_->Collect());
  return text.str();
}

void Metrics::OnQueueDepth(int32_t queued, int32_t running) {
  impl_->queue_depth_.Set(queued);
  impl_->running_.Set(running);
}

void Metrics::OnQueueWait(const std::string& model, std::chrono::nanoseconds wait) {
  impl_->queue_wait_.Add({{"model", model}}, kRequestSeconds).Observe(Seconds(wait));
}

void Metrics::OnStage(const std::string& model, Stage stage, std::chrono::nanoseconds duration) {
  impl_->stage_duration_
      .Add({{"model", model}, {"stage", std::string(StageName(stage))}}, kStageSeconds)
      .Observe(Seconds(duration));
}

void Metrics::OnStep(const std::string& model, std::chrono::nanoseconds duration) {
  impl_->step_duration_.Add({{"model", model}}, kStepSeconds).Observe(Seconds(duration));
}

void Metrics::OnCancelled(const std::string& model, std::string_view stage) {
  impl_->cancelled_.Add({{"model", model}, {"stage", std::string(stage)}}).Increment();
}

void Metrics::OnVaeFallback(const std::string& model) {
  impl_->vae_fallbacks_.Add({{"model", model}}).Increment();
}

void Metrics::OnLoaded(const std::string& model, const Status& status,
                       std::chrono::nanoseconds duration) {
  impl_->loads_.Add({{"model", model}, {"result", status.ok() ? "ok" : "failed"}}).Increment();
  impl_->load_duration_.Add({{"model", model}}, kLoadSeconds).Observe(Seconds(duration));
}

void Metrics::OnEvicted(const std::string& model, EvictionCause cause,
                        const std::string& /*reason*/) {
  impl_->evictions_.Add({{"model", model}, {"reason", EvictionLabel(cause)}}).Increment();
}

void Metrics::OnOutOfMemory(const std::string& model, Stage stage) {
  impl_->out_of_memory_.Add({{"model", model}, {"stage", std::string(StageName(stage))}})
      .Increment();
}

void Metrics::OnMemoryPeak(const std::string& model, int64_t reserved_bytes, int64_t peak_bytes) {
  const double ratio = static_cast<double>(reserved_bytes) / static_cast<double>(peak_bytes);
  impl_->prediction_error_.Add({{"model", model}}, kErrorRatios).Observe(ratio - 1.0);
}

void Metrics::OnRequestStarted(const std::string& method, const std::string& model) {
  (void)method;
  impl_->inflight_.Add({{"model", model}}).Increment();
}

void Metrics::OnRequestFinished(const std::string& method, const std::string& model,
                                StatusCode code, std::chrono::nanoseconds duration) {
  impl_->inflight_.Add({{"model", model}}).Decrement();
  impl_->requests_.Add(Impl::RequestLabels(method, model, code)).Increment();
  impl_->request_duration_.Add({{"model", model}, {"method", method}}, kRequestSeconds)
      .Observe(Seconds(duration));
}

void Metrics::OnRequestRecord(const RequestRecord& record) {
  const std::string& reason = record.status.reason();
  const auto* const known = std::find(kAdmissionReasons.begin(), kAdmissionReasons.end(), reason);
  // A request that was cut later carries the stage in which it was.
  if (known == kAdmissionReasons.end() || record.status.metadata().contains("stage")) return;
  impl_->rejections_.Add({{"reason", LowerCase(reason)}}).Increment();
}

void Metrics::OnImage(const std::string& model, const std::string& mime_type, int64_t pixels) {
  impl_->images_.Add({{"model", model}, {"mime_type", mime_type}}).Increment();
  impl_->image_pixels_.Add({{"model", model}}).Increment(static_cast<double>(pixels));
}

void Metrics::OnConnections(const ConnectionCounts& counts) {
  const auto raise = [](prometheus::Counter& counter, int64_t total) {
    counter.Increment(static_cast<double>(total) - counter.Value());
  };
  impl_->connections_.Set(counts.open);
  raise(impl_->refused_for_limit_, counts.refused_for_limit);
  raise(impl_->refused_for_address_limit_, counts.refused_for_address_limit);
  raise(impl_->refused_for_descriptors_, counts.refused_for_descriptors);
}

void Metrics::OnReload(const char* what, bool ok) {
  impl_->reloads_.Add({{"what", what}, {"result", ok ? "ok" : "failed"}}).Increment();
}

}  // namespace tightfit
