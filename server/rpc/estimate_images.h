// EstimateImages: what a request would take, without doing anything.
#ifndef TIGHTFIT_SERVER_RPC_ESTIMATE_IMAGES_H_
#define TIGHTFIT_SERVER_RPC_ESTIMATE_IMAGES_H_

#include "server/rpc/call_context.h"
#include "server/rpc/unary_call.h"

#include <tightfit/v1/image_generation.pb.h>

namespace tightfit {

// Ends with the errors of validating the request; on the thread that decodes images where there are
// some. `request` and `response` live until then.
void EstimateImages(const CallContext& context, const v1::EstimateImagesRequest& request,
                    v1::EstimateImagesResponse* response, const EndCall& end);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_ESTIMATE_IMAGES_H_
