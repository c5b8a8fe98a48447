// MetricsSnapshot: the families that are read anew at each scrape, from the registry of models, the
// ledger and the device, so that they equal what GetModel says and no series outlives its model.
#ifndef TIGHTFIT_SERVER_TELEMETRY_METRICS_SNAPSHOT_H_
#define TIGHTFIT_SERVER_TELEMETRY_METRICS_SNAPSHOT_H_

#include "server/base/device_memory.h"
#include "server/engine/model_registry.h"
#include "server/memory/device_ledger.h"

#include <prometheus/metric_family.h>

#include <functional>
#include <string>
#include <vector>

namespace tightfit {

// Thread-safe. What it reads must outlive it.
class MetricsSnapshot {
 public:
  // `ledger` may be null, `device_memory` empty: then their families are left out.
  MetricsSnapshot(const ModelRegistry* models, const DeviceLedger* ledger, std::string device,
                  std::function<DeviceMemory()> device_memory);

  void AddTo(std::vector<prometheus::MetricFamily>* families) const;

 private:
  void AddModels(std::vector<prometheus::MetricFamily>* families) const;
  void AddLedger(std::vector<prometheus::MetricFamily>* families) const;
  void AddDevice(std::vector<prometheus::MetricFamily>* families) const;

  const ModelRegistry* const models_;
  const DeviceLedger* const ledger_;
  const std::string device_;
  const std::function<DeviceMemory()> device_memory_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_TELEMETRY_METRICS_SNAPSHOT_H_
