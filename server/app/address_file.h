// AddressFile: tells whoever started the server which addresses it chose.
#ifndef TIGHTFIT_SERVER_APP_ADDRESS_FILE_H_
#define TIGHTFIT_SERVER_APP_ADDRESS_FILE_H_

#include "server/base/status.h"

#include <string>

namespace tightfit {

// Writes {"listen":"...","metrics_listen":"..."} to `path` in one step: a reader sees the whole
// file or none. The last is left out where it is empty. Errors name the path and the system's
// reason.
Status WriteAddressFile(const std::string& path, const std::string& listen,
                        const std::string& metrics_listen);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_APP_ADDRESS_FILE_H_
