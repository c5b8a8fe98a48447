// MemoryOf: what a model holds of its device, shared weights included.
#ifndef TIGHTFIT_SERVER_ENGINE_MODEL_MEMORY_H_
#define TIGHTFIT_SERVER_ENGINE_MODEL_MEMORY_H_

#include "server/engine/model_registry.h"
#include "server/memory/memory_accounts.h"

#include <cstdint>
#include <string>
#include <vector>

namespace tightfit {

struct ComponentMemory {
  std::string component;
  MemoryPurpose purpose = MemoryPurpose::kWeights;
  // Its share where several models on the device hold the same weights: each bears an equal part,
  // the first of them the odd bytes. So the sum over models is what the device holds.
  int64_t current_bytes = 0;
  int64_t peak_bytes = 0;
};

// `models`: all of them. In order of component, then purpose.
std::vector<ComponentMemory> MemoryOf(const ModelSnapshot& model,
                                      const std::vector<ModelSnapshot>& models);

// What of its weights left the device and stays in host memory.
int64_t HostCachedBytes(const ModelSnapshot& model);

// How many models on the device hold these weights.
int32_t HolderCount(const std::string& content_key, const std::vector<ModelSnapshot>& models);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_MODEL_MEMORY_H_
