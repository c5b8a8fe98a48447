// A small file that the operator names: certificates, keys, tokens.
#ifndef TIGHTFIT_SERVER_SECURITY_CREDENTIAL_FILE_H_
#define TIGHTFIT_SERVER_SECURITY_CREDENTIAL_FILE_H_

#include "server/base/status.h"

#include <string>

namespace tightfit {

struct CredentialFile {
  std::string text;
  // By users that are neither its owner nor of its group.
  bool readable_by_others = false;
  bool writable_by_others = false;
};

// Reads the file at `path`, of at most 1 MiB. Errors: INVALID_ARGUMENT that names the path.
Result<CredentialFile> ReadCredentialFile(const std::string& path);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_SECURITY_CREDENTIAL_FILE_H_
