// IsAmong: whether a list of names holds a name.
#ifndef TIGHTFIT_SERVER_BASE_IS_AMONG_H_
#define TIGHTFIT_SERVER_BASE_IS_AMONG_H_

#include <algorithm>
#include <iterator>
#include <string_view>

namespace tightfit {

template <typename Names>
bool IsAmong(std::string_view name, const Names& names) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_BASE_IS_AMONG_H_
