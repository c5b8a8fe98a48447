// Models of the registry as messages of proto/tightfit/v1/model.proto.
#ifndef TIGHTFIT_SERVER_RPC_MODEL_MESSAGES_H_
#define TIGHTFIT_SERVER_RPC_MODEL_MESSAGES_H_

#include "server/engine/model_registry.h"

#include <tightfit/v1/model.pb.h>

#include <vector>

namespace tightfit {

// Components and their bytes, by the memory accounts, only while the model is resident. `models`:
// all of them, some of which may hold the same weights.
v1::Model ToMessage(const ModelSnapshot& snapshot, const std::vector<ModelSnapshot>& models,
                    bool with_modules);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_MODEL_MESSAGES_H_
