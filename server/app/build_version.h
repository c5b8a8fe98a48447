// What was built.
#ifndef TIGHTFIT_SERVER_APP_BUILD_VERSION_H_
#define TIGHTFIT_SERVER_APP_BUILD_VERSION_H_

#include <string>
#include <string_view>

namespace tightfit {

// "0.1.0"
std::string_view BuildVersion();
// 12 hex digits, with "-dirty" where the tree was changed; empty outside git.
std::string_view BuildCommit();
// "0.1.0 (commit 0123456789ab)", "0.1.0 (no commit known)"
std::string BuildVersionText();

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_APP_BUILD_VERSION_H_
