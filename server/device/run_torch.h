// RunTorch: the one place where exceptions of LibTorch, CUDA and the standard library become a
// Status.
#ifndef TIGHTFIT_SERVER_DEVICE_RUN_TORCH_H_
#define TIGHTFIT_SERVER_DEVICE_RUN_TORCH_H_

#include "server/base/status.h"

#include <functional>

namespace tightfit {

// Runs `body` in inference mode. c10::OutOfMemoryError and std::bad_alloc become RESOURCE_EXHAUSTED
// `OUT_OF_MEMORY`; errors of CUDA that end the process's use of its device (cuda_errors.h) become
// UNAVAILABLE `DEVICE_LOST`; anything else INTERNAL. The exception's text is the detail. `what`
// completes "could not ...": "run the UNet".
Status RunTorch(const char* what, const std::function<Status()>& body);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_DEVICE_RUN_TORCH_H_
