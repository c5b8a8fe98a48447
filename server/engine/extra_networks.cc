#include "server/engine/extra_networks.h"

namespace tightfit {
namespace {

bool IsLetter(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

bool IsWordCharacter(char c) { return IsLetter(c) || (c >= '0' && c <= '9'); }

}  // namespace

std::vector<ExtraNetworkTag> FindExtraNetworkTags(std::string_view prompt) {
  std::vector<ExtraNetworkTag> tags;
  size_t at = prompt.find('<');
  while (at != prompt.npos) {
    size_t end = at + 1;
    while (end < prompt.size() && IsWordCharacter(prompt[end])) ++end;
    const bool is_tag = end > at + 1 && IsLetter(prompt[at + 1]) && end + 1 < prompt.size() &&
                        prompt[end] == ':' && prompt[end + 1] != '>';
    if (is_tag) {
      const size_t close = prompt.find('>', end);
      if (close == prompt.npos) break;  // nothing after it closes either
      tags.push_back(
          {.offset = at, .length = close + 1 - at, .kind = prompt.substr(at + 1, end - at - 1)});
      end = close + 1;
    }
    at = prompt.find('<', end);
  }
  return tags;
}

std::string WithoutExtraNetworkTags(std::string_view prompt) {
  std::string text;
  size_t done = 0;
  for (const ExtraNetworkTag& tag : FindExtraNetworkTags(prompt)) {
    text += prompt.substr(done, tag.offset - done);
    done = tag.offset + tag.length;
  }
  return text.append(prompt.substr(done));
}

}  // namespace tightfit
