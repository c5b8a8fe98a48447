// A1111's text split into what it says: two prompts and a list of names and values.
#ifndef TIGHTFIT_CLIENT_CPP_PARAMETERS_LIST_H_
#define TIGHTFIT_CLIENT_CPP_PARAMETERS_LIST_H_

#include "server/base/status.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tightfit::client {

struct ParametersList {
  struct Field {
    std::string name;
    std::string value;  // without quotes
  };
  std::string prompt;
  std::optional<std::string> negative_prompt;  // absent: there is no line of it
  std::vector<Field> fields;                   // in order; a name may come again

  // Of several the last, as A1111 takes it; names differ by more than case. nullptr where absent.
  const std::string* Find(std::string_view name) const;
};

// Splits it where A1111 does: the last line with the steps and two fields more is the list, what
// stands before are the prompts. Linear in the size of the text. Errors: INVALID_ARGUMENT where
// there is no such list.
Result<ParametersList> SplitParametersText(std::string_view text);

// "Seed" and "seed" are one name.
bool IsSameName(std::string_view a, std::string_view b);

}  // namespace tightfit::client

#endif  // TIGHTFIT_CLIENT_CPP_PARAMETERS_LIST_H_
