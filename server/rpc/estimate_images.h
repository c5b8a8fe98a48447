// EstimateImages: what a request would take, without doing anything.
#ifndef TIGHTFIT_SERVER_RPC_ESTIMATE_IMAGES_H_
#define TIGHTFIT_SERVER_RPC_ESTIMATE_IMAGES_H_

#include "server/base/status.h"
#include "server/rpc/call_context.h"

#include <tightfit/v1/image_generation.pb.h>

namespace tightfit {

// Errors: those of validating the request.
Status EstimateImages(const CallContext& context, const v1::EstimateImagesRequest& request,
                      v1::EstimateImagesResponse* response);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_ESTIMATE_IMAGES_H_
