// ModelLabel: the model of a call as records and metrics name it, never what a client typed.
#ifndef TIGHTFIT_SERVER_RPC_MODEL_LABEL_H_
#define TIGHTFIT_SERVER_RPC_MODEL_LABEL_H_

#include "server/engine/model_registry.h"

#include <tightfit/v1/image_generation.pb.h>

#include <string>

namespace tightfit {

// `name` if it is configured, or "unknown".
std::string ModelLabel(const std::string& name, const ModelRegistry& registry);
// The configured model that `parameters` ask for, or "unknown".
std::string ModelLabel(const v1::ImageParameters& parameters, const ModelRegistry& registry);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_MODEL_LABEL_H_
