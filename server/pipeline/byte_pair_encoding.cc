#include "server/pipeline/byte_pair_encoding.h"

#include <queue>
#include <tuple>

namespace tightfit {
namespace {

constexpr std::string_view kEndOfWord = "</w>";

// GPT-2's table: bytes that Latin-1 prints stand for themselves, the others for U+0100 onwards.
std::array<std::string, 256> ByteCharacters() {
  std::array<std::string, 256> characters;
  int next_substitute = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD);
    const int code_point = printable ? byte : next_substitute++;
    if (code_point < 0x80) {
      characters[byte] = std::string(1, static_cast<char>(code_point));
    } else {
      characters[byte] = {static_cast<char>(0xC0 | (code_point >> 6)),
                          static_cast<char>(0x80 | (code_point & 0x3F))};
    }
  }
  return characters;
}

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

Status BadMerge(size_t rank, const char* what) {
  return {StatusCode::kDataLoss, "BAD_TOKENIZER",
          "merge " + std::to_string(rank + 1) + " of merges.txt " + what};
}

// A symbol of the word while it is merged: a doubly linked list over positions.
struct Symbol {
  int32_t id;
  int32_t previous;
  int32_t next;
};

struct Candidate {
  int32_t rank;
  int32_t position;
  int32_t id;
  // std::priority_queue gives its greatest first: the lowest rank, then the leftmost.
  bool operator<(const Candidate& other) const {
    return std::tie(rank, position) > std::tie(other.rank, other.position);
  }
};

}  // namespace

Result<BytePairEncoding> BytePairEncoding::Create(const TokenIds& tokens, const Merges& merges,
                                                  int32_t unknown_id) {
  BytePairEncoding encoding;
  const auto id_or_unknown = [&](const std::string& text) {
    const auto found = tokens.find(text);
    return found == tokens.end() ? unknown_id : found->second;
  };
  const std::array<std::string, 256> characters = ByteCharacters();
  for (int byte = 0; byte < 256; ++byte) {
    encoding.inner_byte_ids_[byte] = id_or_unknown(characters[byte]);
    encoding.last_byte_ids_[byte] = id_or_unknown(characters[byte] + std::string(kEndOfWord));
  }
  encoding.merges_.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const auto left_id = tokens.find(left);
    const auto right_id = tokens.find(right);
    if (left_id == tokens.end() || right_id == tokens.end()) {
      return BadMerge(rank, "names a token that vocab.json lacks");
    }
    const auto merged_id = tokens.find(left + right);
    if (merged_id == tokens.end()) return BadMerge(rank, "makes a token that vocab.json lacks");
    const Merge merge{static_cast<int32_t>(rank), merged_id->second};
    if (!encoding.merges_.emplace(PairKey(left_id->second, right_id->second), merge).second) {
      return BadMerge(rank, "comes twice");
    }
  }
  return encoding;
}

const BytePairEncoding::Merge* BytePairEncoding::FindMerge(int32_t left, int32_t right) const {
  const auto found = merges_.find(PairKey(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

void BytePairEncoding::Encode(std::string_view word, std::vector<int64_t>& ids) const {
  const int32_t size = static_cast<int32_t>(word.size());
  if (size == 0) return;
  std::vector<Symbol> symbols(word.size());
  for (int32_t i = 0; i < size; ++i) {
    const uint8_t byte = static_cast<uint8_t>(word[i]);
    const int32_t id = i + 1 == size ? last_byte_ids_[byte] : inner_byte_ids_[byte];
    symbols[i] = {id, i - 1, i + 1 == size ? -1 : i + 1};
  }
  std::vector<Candidate> storage;
  storage.reserve(word.size());
  std::priority_queue<Candidate> candidates({}, std::move(storage));
  const auto offer = [&](int32_t position) {
    const Symbol& left = symbols[position];
    if (left.next < 0) return;
    if (const Merge* merge = FindMerge(left.id, symbols[left.next].id)) {
      candidates.push({merge->rank, position, merge->id});
    }
  };
  for (int32_t i = 0; i + 1 < size; ++i) offer(i);

  constexpr int32_t kMergedAway = -1;
  while (!candidates.empty()) {
    const Candidate candidate = candidates.top();
    candidates.pop();
    Symbol& left = symbols[candidate.position];
    if (left.id == kMergedAway || left.next < 0) continue;
    Symbol& right = symbols[left.next];
    // Either side may have grown since the candidate was made.
    const Merge* merge = FindMerge(left.id, right.id);
    if (merge == nullptr || merge->id != candidate.id) continue;
    left.id = merge->id;
    left.next = right.next;
    right.id = kMergedAway;
    if (left.next >= 0) symbols[left.next].previous = candidate.position;
    if (left.previous >= 0) offer(left.previous);
    offer(candidate.position);
  }
  for (int32_t i = 0; i >= 0; i = symbols[i].next) ids.push_back(symbols[i].id);
}

}  // namespace tightfit
