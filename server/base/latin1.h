// Latin1ToUtf8: the text of PNG chunks that are older than UTF-8 in them.
#ifndef TIGHTFIT_SERVER_BASE_LATIN1_H_
#define TIGHTFIT_SERVER_BASE_LATIN1_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace tightfit {

// Every byte is a character, the one of the same number in Unicode.
inline std::string Latin1ToUtf8(std::string_view text) {
  std::string utf8;
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    if (byte < 0x80) {
      utf8.push_back(c);
    } else {
      utf8.push_back(static_cast<char>(0xC0 | (byte >> 6)));
      utf8.push_back(static_cast<char>(0x80 | (byte & 0x3F)));
    }
  }
  return utf8;
}

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_BASE_LATIN1_H_
