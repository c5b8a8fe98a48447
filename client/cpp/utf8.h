// Protobuf strings must be UTF-8; a byte sequence that is not would reach the server as an
// unreadable request, so it is refused before it is sent.
#ifndef TIGHTFIT_CLIENT_CPP_UTF8_H_
#define TIGHTFIT_CLIENT_CPP_UTF8_H_

#include <string_view>

namespace tightfit::client {

// Well-formed by table 3-7 of the Unicode standard: no overlong forms, no surrogates, at most
// U+10FFFF.
bool IsUtf8(std::string_view text);

}  // namespace tightfit::client

#endif  // TIGHTFIT_CLIENT_CPP_UTF8_H_
