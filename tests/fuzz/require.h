// Require: what must hold for every input of a fuzz target.
#ifndef TIGHTFIT_TESTS_FUZZ_REQUIRE_H_
#define TIGHTFIT_TESTS_FUZZ_REQUIRE_H_

#include <cstdlib>

namespace tightfit {

inline void Require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_FUZZ_REQUIRE_H_
