#include "client/cpp/utf8.h"

#include <cstddef>

namespace tightfit::client {

bool IsUtf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const unsigned char lead = static_cast<unsigned char>(text[i++]);
    if (lead < 0x80) continue;
    // The second byte's range is narrower after some leads; that excludes all ill-formed sequences.
    unsigned char low = 0x80;
    unsigned char high = 0xBF;
    int continuation_count = 0;
    if (lead >= 0xC2 && lead <= 0xDF) {
      continuation_count = 1;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
      continuation_count = 2;
      if (lead == 0xE0) low = 0xA0;
      if (lead == 0xED) high = 0x9F;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
      continuation_count = 3;
      if (lead == 0xF0) low = 0x90;
      if (lead == 0xF4) high = 0x8F;
    } else {
      return false;
    }
    for (; continuation_count > 0; --continuation_count) {
      if (i == text.size()) return false;
      const unsigned char byte = static_cast<unsigned char>(text[i++]);
      if (byte < low || byte > high) return false;
      low = 0x80;
      high = 0xBF;
    }
  }
  return true;
}

}  // namespace tightfit::client
