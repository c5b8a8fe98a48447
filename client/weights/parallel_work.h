// Work of many pieces that Ctrl-C ends early.
#ifndef TIGHTFIT_CLIENT_WEIGHTS_PARALLEL_WORK_H_
#define TIGHTFIT_CLIENT_WEIGHTS_PARALLEL_WORK_H_

#include "kernels/codec.h"

#include <cstdint>
#include <functional>
#include <stop_token>

namespace tightfit::weights {

// `inner` (which may be empty: one thread), but pieces that have not begun when `stop` is asked for
// are left out: whoever calls it looks at `stop` afterwards and throws the result away.
// `on_progress` is told after each piece how many of how many are done; by one thread at a time.
ParallelFor Interruptible(ParallelFor inner, std::stop_token stop,
                          std::function<void(int64_t done, int64_t count)> on_progress = {});

}  // namespace tightfit::weights

#endif  // TIGHTFIT_CLIENT_WEIGHTS_PARALLEL_WORK_H_
