// tightfit.toml, read strictly: an unknown key, a wrong type or a bad value is an error with its
// line.
#ifndef TIGHTFIT_SERVER_CONFIG_CONFIG_FILE_H_
#define TIGHTFIT_SERVER_CONFIG_CONFIG_FILE_H_

#include "server/config/config.h"

#include <string>
#include <string_view>

namespace tightfit {

// Reads the file at `path` (at most 1 MiB) into `config` and notes in `origins` where each setting
// stands. A relative path of a model, a certificate, a key or tokens counts
// from the file's directory.
Status ReadConfigFile(const std::string& path, ServerConfig* config, ConfigOrigins* origins);

// The same from text; `path` is used in messages and for relative paths.
Status ParseConfigText(std::string_view text, const std::string& path, ServerConfig* config,
                       ConfigOrigins* origins);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_CONFIG_CONFIG_FILE_H_
