// CallContext: what every call needs of the server. Made once by GrpcServer, never changed after.
#ifndef TIGHTFIT_SERVER_RPC_CALL_CONTEXT_H_
#define TIGHTFIT_SERVER_RPC_CALL_CONTEXT_H_

#include "server/base/clock.h"
#include "server/base/limits.h"
#include "server/engine/device_executor.h"
#include "server/engine/model_registry.h"
#include "server/engine/rpc_observer.h"
#include "server/rpc/byte_budget.h"
#include "server/rpc/decode_queue.h"
#include "server/rpc/encode_workers.h"
#include "server/security/access_control.h"

#include <memory>

namespace tightfit {

class StalledReaders;

// Outlives the calls. Its members are thread-safe.
struct CallContext {
  DeviceExecutor* executor;
  ModelRegistry* registry;
  const Clock* clock;
  RpcObserver* observer;  // never null
  Limits limits;
  EncodeWorkers* workers;
  DecodeQueue* decode_queue;
  StalledReaders* stalled_readers;
  AccessControl access;
  // Of images that are asked for and not delivered, as large as they can get.
  std::shared_ptr<ByteBudget> image_bytes = std::make_shared<ByteBudget>();
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_CALL_CONTEXT_H_
