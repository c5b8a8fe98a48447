// The JSON documents of --json. Their keys are described in JSON.md and stay.
#ifndef TIGHTFIT_CLIENT_CLI_JSON_DOCUMENTS_H_
#define TIGHTFIT_CLIENT_CLI_JSON_DOCUMENTS_H_

#include "client/cpp/generation_types.h"
#include "client/cpp/server_types.h"
#include "server/base/status.h"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace tightfit::cli {

using Json = nlohmann::ordered_json;

Json ToJson(const client::ResolvedParameters& parameters);
Json ToJson(const client::Timings& timings);
Json ToJson(const client::PromptTokens& prompt);
Json ToJson(const std::vector<client::RequestWarning>& warnings);
Json ToJson(const client::Model& model);
// `json`: what ToJson(model) gave; its components get "layers".
void AddLayers(const client::Model& model, Json* json);
Json ToJson(const client::ServerInfo& info);
Json ToJson(const client::Capabilities& capabilities);
Json ToJson(const Status& error);

// Indented, with a newline at the end. Bytes that are not UTF-8 are replaced.
std::string Document(const Json& json);

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_JSON_DOCUMENTS_H_
