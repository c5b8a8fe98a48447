// What has to be looked at before a text is given to nlohmann's parser.
#ifndef TIGHTFIT_SERVER_BASE_JSON_TEXT_H_
#define TIGHTFIT_SERVER_BASE_JSON_TEXT_H_

#include <string_view>

namespace tightfit {

// NUL is no part of any JSON document, but the parser takes it for the end of one, so whatever
// stands behind it would go unread.
inline bool HoldsNul(std::string_view json) { return json.find('\0') != std::string_view::npos; }

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_BASE_JSON_TEXT_H_
