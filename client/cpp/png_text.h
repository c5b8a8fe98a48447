// The text that programs leave in PNG files. Pixels are not looked at.
#ifndef TIGHTFIT_CLIENT_CPP_PNG_TEXT_H_
#define TIGHTFIT_CLIENT_CPP_PNG_TEXT_H_

#include "server/base/status.h"

#include <string>
#include <string_view>

namespace tightfit::client {

// The text `parameters` of a PNG file (tEXt, zTXt or iTXt), as UTF-8; of several the first. Takes
// at most 1 MiB, however far a compressed text would unfold. Errors: INVALID_ARGUMENT that says in
// one line what is wrong with the file, or which program's text it holds instead.
Result<std::string> ParametersTextOfPng(std::string_view png);

}  // namespace tightfit::client

#endif  // TIGHTFIT_CLIENT_CPP_PNG_TEXT_H_
