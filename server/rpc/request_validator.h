// Turns a request message into GenerationParameters, or names everything that is wrong with it.
//
// Field paths of violations: a field of ImageParameters goes by its own name (`width_px`,
// `original_size.height_px`), as does `request_id`; an unknown field goes by its number.
#ifndef TIGHTFIT_SERVER_RPC_REQUEST_VALIDATOR_H_
#define TIGHTFIT_SERVER_RPC_REQUEST_VALIDATOR_H_

#include "server/base/limits.h"
#include "server/base/status.h"
#include "server/engine/generation.h"
#include "server/engine/model_registry.h"

#include <tightfit/v1/image_generation.pb.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace tightfit {

struct AcceptedRequest {
  GenerationParameters parameters;  // every default filled in, the seed drawn
  std::shared_ptr<const ModelDescription> model;
  bool embed_metadata = true;
  std::vector<RequestWarning> warnings;  // at most kMaxRequestWarnings, in the order of the fields
};

// Errors: INVALID_ARGUMENT with a violation for every bad field; NOT_FOUND; UNAVAILABLE
// `MODEL_LOADING`; FAILED_PRECONDITION `MODEL_FAILED`. Bad fields come before the model's state,
// and fields whose range depends on a model that is not resident are not looked at.
Result<AcceptedRequest> ValidateRequest(const v1::StreamImagesRequest& request,
                                        const Limits& limits, const ModelRegistry& registry);
// Also refuses what may give a reply of more than Limits::max_unary_reply_bytes.
Result<AcceptedRequest> ValidateRequest(const v1::GenerateImagesRequest& request,
                                        const Limits& limits, const ModelRegistry& registry);

Result<AcceptedRequest> ValidateRequest(const v1::EstimateImagesRequest& request,
                                        const Limits& limits, const ModelRegistry& registry);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_REQUEST_VALIDATOR_H_
