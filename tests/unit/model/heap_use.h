// The heap memory that this test program asked for.
#ifndef TIGHTFIT_TESTS_UNIT_MODEL_HEAP_USE_H_
#define TIGHTFIT_TESTS_UNIT_MODEL_HEAP_USE_H_

#include <cstddef>

namespace tightfit {

// Starts a new measurement.
void ResetHeapUse();
// Bytes of the largest `new` since then.
size_t LargestAllocation();
// The most bytes that were held at one time since then, beyond what was held at its start.
size_t PeakHeapBytes();

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_UNIT_MODEL_HEAP_USE_H_
