// ParseManifest: the schema of model.json, and what of it this build can serve.
#ifndef TIGHTFIT_SERVER_MODEL_MODEL_MANIFEST_H_
#define TIGHTFIT_SERVER_MODEL_MODEL_MANIFEST_H_

#include "server/base/status.h"
#include "server/model/model_directory.h"

#include <string_view>

namespace tightfit {

inline constexpr char kManifestName[] = "model.json";

// The text of a model.json; the directory's path stays empty. Errors: as ReadModelDirectory.
Result<ModelDirectory> ParseManifest(std::string_view text);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_MODEL_MODEL_MANIFEST_H_
