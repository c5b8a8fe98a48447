// The device that models compute on, as LibTorch knows it. Everything else of model/ and pipeline/
// takes an at::Device and does the same on each.
#ifndef TIGHTFIT_SERVER_DEVICE_COMPUTE_DEVICE_H_
#define TIGHTFIT_SERVER_DEVICE_COMPUTE_DEVICE_H_

#include <c10/core/Device.h>

namespace tightfit {

// Makes `device` the current one of the calling thread.
void SetThreadDevice(at::Device device);

// Lets the libraries of a CUDA device take what they keep for good, such as the workspace of matrix
// products, so that no model's first request is charged for it; nothing on a CPU. May throw what
// LibTorch throws.
void StartDeviceLibraries(at::Device device);

// Waits for what this thread has put on the device; at once on a CPU. Errors of kernels come up
// here: throws what LibTorch throws.
void Synchronize(at::Device device);

// Gives the device what LibTorch's allocator holds and no tensor uses; nothing on a CPU.
void ReleaseDeviceCache(at::Device device);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_DEVICE_COMPUTE_DEVICE_H_
