// The largest single request for heap memory of this test program.
#ifndef TIGHTFIT_TESTS_UNIT_MODEL_LARGEST_ALLOCATION_H_
#define TIGHTFIT_TESTS_UNIT_MODEL_LARGEST_ALLOCATION_H_

#include <cstddef>

namespace tightfit {

// Bytes of the largest `new` since the last ResetLargestAllocation().
size_t LargestAllocation();
void ResetLargestAllocation();

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_UNIT_MODEL_LARGEST_ALLOCATION_H_
