// Models in the configuration: the keys of a [[model]] table and of a --model flag.
#ifndef TIGHTFIT_SERVER_CONFIG_CONFIG_MODELS_H_
#define TIGHTFIT_SERVER_CONFIG_CONFIG_MODELS_H_

#include "server/config/config.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tightfit {

// name, path, then what may be left out.
const std::vector<std::string_view>& ModelKeys();

// The field of a key whose value is a string, a whole number, a number, true or false; nullptr for
// any other. "exclude" is none of them.
std::string* ModelText(std::string_view key, ModelSpec* spec);
int32_t* ModelNumber(std::string_view key, ModelSpec* spec);
double* ModelFraction(std::string_view key, ModelSpec* spec);
bool* ModelSwitch(std::string_view key, ModelSpec* spec);

// "sdxl=/models/sdxl,format=hf8x,exclude=conv_in;conv_out"; a comma of a path is written `\,`, a
// backslash before a comma or a backslash `\\`. Records its origins. Errors name what
// is wrong with `text`.
Result<ModelSpec> ParseModelFlag(std::string_view text, ConfigOrigins* origins);

// Every choice and name, that `path` is a directory with a model.json and `vae` a file.
Status ValidateModel(const ModelSpec& spec, const ConfigOrigins& origins);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_CONFIG_CONFIG_MODELS_H_
