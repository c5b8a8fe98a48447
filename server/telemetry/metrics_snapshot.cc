#include "server/telemetry/metrics_snapshot.h"

#include "server/engine/model_memory.h"
#include "server/memory/memory_accounts.h"

#include <array>
#include <chrono>
#include <map>
#include <utility>

namespace tightfit {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using Labels = std::map<std::string, std::string>;

constexpr std::array<ModelState, 5> kStates = {ModelState::kUnloaded, ModelState::kLoading,
                                               ModelState::kResident, ModelState::kEvicting,
                                               ModelState::kFailed};

// A family of gauges made anew at each scrape.
class GaugeSnapshot {
 public:
  GaugeSnapshot(std::string name, std::string help) {
    family_.name = std::move(name);
    family_.help = std::move(help);
    family_.type = prometheus::MetricType::Gauge;
  }

  void Add(const Labels& labels, double value) {
    ClientMetric metric;
    for (const auto& [name, text] : labels) metric.label.push_back({name, text});
    metric.gauge.value = value;
    family_.metric.push_back(std::move(metric));
  }

  // A family without series is left out.
  void MoveTo(std::vector<MetricFamily>* families) && {
    if (!family_.metric.empty()) families->push_back(std::move(family_));
  }

 private:
  MetricFamily family_;
};

}  // namespace

MetricsSnapshot::MetricsSnapshot(const ModelRegistry* models, const DeviceLedger* ledger,
                                 std::string device, std::function<DeviceMemory()> device_memory)
    : models_(models),
      ledger_(ledger),
      device_(std::move(device)),
      device_memory_(std::move(device_memory)) {}

void MetricsSnapshot::AddTo(std::vector<MetricFamily>* families) const {
  AddModels(families);
  AddLedger(families);
  AddDevice(families);
}

void MetricsSnapshot::AddModels(std::vector<MetricFamily>* families) const {
  GaugeSnapshot state("tightfit_model_state", "1 for the state that the model is in, else 0.");
  GaugeSnapshot info("tightfit_model_info", "How a resident model is held; always 1.");
  GaugeSnapshot weights("tightfit_model_weight_bytes",
                        "Bytes that the weights of a component take on the device.");
  GaugeSnapshot memory("tightfit_model_memory_bytes",
                       "Tensor bytes held now, by model, component and purpose; of weights "
                       "that models share each bears an equal part.");
  GaugeSnapshot peak("tightfit_model_memory_peak_bytes",
                     "Most tensor bytes held at once, by model, component and purpose.");
  GaugeSnapshot pinned("tightfit_model_pinned", "1 where a model may not be evicted, else 0.");
  GaugeSnapshot last_used("tightfit_model_last_used_timestamp_seconds",
                          "When a request last began or ended on the model, in Unix time.");
  const std::vector<ModelSnapshot> models = models_->List();
  for (const ModelSnapshot& model : models) {
    const std::string& name = model.spec.name;
    pinned.Add({{"model", name}}, model.policy.pinned ? 1 : 0);
    if (model.last_used_time.has_value()) {
      last_used.Add(
          {{"model", name}},
          std::chrono::duration<double>(model.last_used_time->time_since_epoch()).count());
    }
    for (const ModelState each : kStates) {
      state.Add({{"model", name}, {"state", std::string(ModelStateName(each))}},
                model.state == each ? 1 : 0);
    }
    if (model.state == ModelState::kResident && model.description != nullptr) {
      const ModelDescription& description = *model.description;
      info.Add({{"model", name},
                {"format", description.format},
                {"scope", description.scope},
                {"compute_dtype", description.compute_dtype},
                {"hash", description.hash}},
               1);
      for (const ComponentDescription& component : description.components) {
        weights.Add({{"model", name}, {"component", component.name}, {"format", component.format}},
                    static_cast<double>(component.weight_bytes));
      }
    }
    for (const ComponentMemory& use : MemoryOf(model, models)) {
      const Labels labels = {{"model", name},
                             {"component", use.component},
                             {"purpose", std::string(MemoryPurposeName(use.purpose))}};
      memory.Add(labels, static_cast<double>(use.current_bytes));
      peak.Add(labels, static_cast<double>(use.peak_bytes));
    }
  }
  for (GaugeSnapshot* family : {&state, &info, &weights, &memory, &peak, &pinned, &last_used}) {
    std::move(*family).MoveTo(families);
  }
}

void MetricsSnapshot::AddLedger(std::vector<MetricFamily>* families) const {
  if (ledger_ == nullptr) return;
  GaugeSnapshot limit("tightfit_device_memory_limit_bytes",
                      "Device memory that models and requests may take together.");
  GaugeSnapshot reserved("tightfit_device_memory_reserved_bytes",
                         "Device memory set aside: of weights by their content, of requests by "
                         "model, for all under no name.");
  limit.Add({{"device", device_}}, static_cast<double>(ledger_->limit_bytes()));
  for (const LedgerUse& use : ledger_->Snapshot()) {
    reserved.Add({{"device", device_},
                  {"owner", use.owner},
                  {"purpose", std::string(MemoryPurposeName(use.purpose))}},
                 static_cast<double>(use.bytes));
  }
  for (GaugeSnapshot* family : {&limit, &reserved}) std::move(*family).MoveTo(families);
}

void MetricsSnapshot::AddDevice(std::vector<MetricFamily>* families) const {
  if (!device_memory_) return;
  const DeviceMemory memory = device_memory_();
  GaugeSnapshot total("tightfit_device_memory_total_bytes",
                      "Memory of the device; on a CPU the machine's.");
  GaugeSnapshot used("tightfit_device_memory_used_bytes",
                     "Device memory in use; on a CPU the process's resident set.");
  GaugeSnapshot unattributed(
      "tightfit_device_memory_unattributed_bytes",
      "Used bytes that are no tensors of a model: libraries, code, contexts.");
  total.Add({{"device", device_}}, static_cast<double>(memory.total_bytes));
  used.Add({{"device", device_}}, static_cast<double>(memory.used_bytes));
  unattributed.Add({{"device", device_}},
                   static_cast<double>(memory.used_bytes - memory.attributed_bytes));
  GaugeSnapshot host_cache("tightfit_host_cache_bytes",
                           "Host memory of weights that left the device and can come back.");
  host_cache.Add({}, static_cast<double>(memory.host_cache_bytes));
  for (GaugeSnapshot* family : {&total, &used, &unattributed, &host_cache}) {
    std::move(*family).MoveTo(families);
  }
}

}  // namespace tightfit
