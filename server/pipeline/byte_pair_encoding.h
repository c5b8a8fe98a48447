// BytePairEncoding: the merges of a byte-level BPE with an end-of-word suffix, applied to one word.
//
// Byte-level: every byte of a word stands for one printable character (GPT-2's table), the last one
// followed by "</w>"; then the adjacent pair with the lowest rank is merged until none is left.
#ifndef TIGHTFIT_SERVER_PIPELINE_BYTE_PAIR_ENCODING_H_
#define TIGHTFIT_SERVER_PIPELINE_BYTE_PAIR_ENCODING_H_

#include "server/base/status.h"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace tightfit {

// Token text -> id; ids are 0 ... size - 1, each once.
using TokenIds = std::unordered_map<std::string, int32_t>;
// Left and right part, in rank order.
using Merges = std::vector<std::pair<std::string, std::string>>;

// Thread-safe: immutable after Create.
class BytePairEncoding {
 public:
  // A byte that `tokens` lacks becomes `unknown_id`. Errors: DATA_LOSS when a merge names a part or
  // a result that is no token, or comes twice.
  static Result<BytePairEncoding> Create(const TokenIds& tokens, const Merges& merges,
                                         int32_t unknown_id);

  // Appends the ids of `word`. O(n log n) in its bytes. An empty word adds nothing.
  void Encode(std::string_view word, std::vector<int64_t>& ids) const;

 private:
  struct Merge {
    int32_t rank;
    int32_t id;  // of the merged token
  };

  BytePairEncoding() = default;
  const Merge* FindMerge(int32_t left, int32_t right) const;

  std::array<int32_t, 256> inner_byte_ids_{};
  std::array<int32_t, 256> last_byte_ids_{};  // with the end-of-word suffix
  std::unordered_map<uint64_t, Merge> merges_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_BYTE_PAIR_ENCODING_H_
