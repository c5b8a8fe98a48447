// ClosestName: what somebody who mistyped a name probably meant.
#ifndef TIGHTFIT_SERVER_BASE_CLOSEST_NAME_H_
#define TIGHTFIT_SERVER_BASE_CLOSEST_NAME_H_

#include <string>
#include <string_view>
#include <vector>

namespace tightfit {

// The name of `known` that takes the fewest edits (swapped neighbours count as one), at most a
// third of the longer name's letters; empty where none is that close.
std::string_view ClosestName(std::string_view name, const std::vector<std::string_view>& known);

// `; did you mean "format"?` or nothing.
std::string DidYouMean(std::string_view name, const std::vector<std::string_view>& known);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_BASE_CLOSEST_NAME_H_
