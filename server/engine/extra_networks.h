// Tags of extra networks in a prompt, as A1111 writes them: `<lora:name:0.8>`.
#ifndef TIGHTFIT_SERVER_ENGINE_EXTRA_NETWORKS_H_
#define TIGHTFIT_SERVER_ENGINE_EXTRA_NETWORKS_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace tightfit {

// A part of a prompt, in bytes.
struct ExtraNetworkTag {
  size_t offset = 0;
  size_t length = 0;
  std::string_view kind;  // "lora", as it is written
};

// `<`, a word that begins with a letter, `:`, anything but `>`, `>`: all kinds, known or not, since
// A1111 takes them all out. In the order of the prompt; none overlap. Time: linear.
std::vector<ExtraNetworkTag> FindExtraNetworkTags(std::string_view prompt);

std::string WithoutExtraNetworkTags(std::string_view prompt);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_EXTRA_NETWORKS_H_
