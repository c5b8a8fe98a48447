// What the server asks of the CUDA runtime itself, beside LibTorch. Free of LibTorch. A build
// without a CUDA compiler links cuda_device_absent.cc: there is no device then.
#ifndef TIGHTFIT_SERVER_DEVICE_CUDA_DEVICE_H_
#define TIGHTFIT_SERVER_DEVICE_CUDA_DEVICE_H_

#include "kernels/cuda/decode_table.h"
#include "kernels/packed_layout.h"
#include "server/base/device_memory.h"
#include "server/base/status.h"

#include <cstdint>
#include <string>

namespace tightfit {

// "NVIDIA H100 80GB HBM3 (compute capability 9.0)". Errors: FAILED_PRECONDITION
// `DEVICE_UNAVAILABLE` where there is no driver, no such device, or one that is older than the
// kernels of this build; what is missing and what to do.
Result<std::string> DescribeCudaDevice(int index);

// As the driver tells it now; zeros where it does not. Any thread.
DedicatedMemory ReadCudaMemory(int index);

// Whether the device still does what it is asked: writes a few bytes there and reads them back, in
// well under a millisecond. OK also where memory is full. Errors: DEVICE_LOST.
Status ProbeCudaDevice(int index);

// Puts the decoding of a whole weight on the default stream of the current device. `packed`, device
// memory aligned to 16 bytes, is what `layout` describes; `out` takes rows * columns values. An
// older error of this thread that nobody has asked for is not taken for the weight's. Errors:
// INTERNAL with CUDA's name of the error in the detail, or DEVICE_LOST.
Status DecodeOnCuda(const PackedLayout& layout, const uint8_t* packed, cuda::DecodedType type,
                    void* out);

// Puts the packing of a whole weight on the same stream. All device memory: `fp16`, the patterns
// that `layout` was planned for; `packed`, layout.total_bytes aligned to 16; `workspace`,
// cuda::WorkspaceBytes(layout) of kernels/cuda/encode_task.h. Errors: DecodeOnCuda's.
Status EncodeOnCuda(const PackedLayout& layout, const uint16_t* fp16, uint8_t* packed,
                    void* workspace);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_DEVICE_CUDA_DEVICE_H_
