// Between the client's plain types and the messages of proto/tightfit/v1.
#ifndef TIGHTFIT_CLIENT_CPP_MESSAGE_CONVERSION_H_
#define TIGHTFIT_CLIENT_CPP_MESSAGE_CONVERSION_H_

#include "client/cpp/generation_types.h"
#include "client/cpp/image_assembler.h"
#include "client/cpp/server_types.h"
#include "server/base/status.h"
#include "tightfit/v1/image_generation.pb.h"
#include "tightfit/v1/model.pb.h"
#include "tightfit/v1/server.pb.h"

#include <chrono>

namespace tightfit::client {

// INVALID_ARGUMENT names every text that is not UTF-8.
Result<v1::StreamImagesRequest> ToMessage(const ImageRequest& request);

// Cut to what 64 bits of nanoseconds hold.
std::chrono::nanoseconds DurationFromMessage(const google::protobuf::Duration& message);

Started FromMessage(const v1::Started& message);
Estimate FromMessage(const v1::EstimateImagesResponse& message);
Progress FromMessage(const v1::Progress& message);
ImageChunk FromMessage(v1::ImageChunk&& message);
Completed FromMessage(const v1::Completed& message);
Model FromMessage(const v1::Model& message);
ServerInfo FromMessage(const v1::GetServerInfoResponse& message);
Capabilities FromMessage(const v1::GetCapabilitiesResponse& message);

}  // namespace tightfit::client

#endif  // TIGHTFIT_CLIENT_CPP_MESSAGE_CONVERSION_H_
