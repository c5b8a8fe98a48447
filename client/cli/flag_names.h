// Fields of the contract by the names that a user of the command line knows.
#ifndef TIGHTFIT_CLIENT_CLI_FLAG_NAMES_H_
#define TIGHTFIT_CLIENT_CLI_FLAG_NAMES_H_

#include <string>
#include <string_view>

namespace tightfit::cli {

// `text` with every name of a field of ImageParameters or of UpdateModel as its option: "width_px"
// becomes "--width", "original_size.width_px" "--original-size". Other words stay.
std::string WithFlagNames(std::string_view text);

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_FLAG_NAMES_H_
