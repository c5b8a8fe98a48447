// The errors of CUDA that end a process's use of its device: those of which CUDA's header says that
// "the process must be terminated and relaunched", and four of a device that has failed or is gone.
// After any other error that is not a request's own, ProbeCudaDevice tells. Free of CUDA and
// LibTorch, so that it can be tested without either.
#ifndef TIGHTFIT_SERVER_DEVICE_CUDA_ERRORS_H_
#define TIGHTFIT_SERVER_DEVICE_CUDA_ERRORS_H_

#include "server/base/status.h"

#include <array>
#include <optional>
#include <string_view>

namespace tightfit {

struct FatalCudaError {
  int code;               // of cudaError_t
  std::string_view name;  // cudaGetErrorName
  std::string_view text;  // cudaGetErrorString
};

inline constexpr std::array<FatalCudaError, 17> kFatalCudaErrors = {{
    {46, "cudaErrorDevicesUnavailable", "CUDA-capable device(s) is/are busy or unavailable"},
    {214, "cudaErrorECCUncorrectable", "uncorrectable ECC error encountered"},
    {220, "cudaErrorNvlinkUncorrectable",
     "uncorrectable NVLink error detected during the execution"},
    {226, "cudaErrorContained",
     "Invalid access of peer GPU memory over nvlink or a hardware error"},
    {700, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {702, "cudaErrorLaunchTimeout", "the launch timed out and was terminated"},
    {710, "cudaErrorAssert", "device-side assert triggered"},
    {714, "cudaErrorHardwareStackError", "hardware stack error"},
    {715, "cudaErrorIllegalInstruction", "an illegal instruction was encountered"},
    {716, "cudaErrorMisalignedAddress", "misaligned address"},
    {717, "cudaErrorInvalidAddressSpace", "operation not supported on global/shared address space"},
    {718, "cudaErrorInvalidPc", "invalid program counter"},
    {719, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {721, "cudaErrorTensorMemoryLeak", "tensor memory not completely freed"},
    {810, "cudaErrorMpsClientTerminated", "the MPS client has been terminated by the server"},
    {911, "cudaErrorExternalDevice",
     "an async error has occured in external entity outside of CUDA"},
    {999, "cudaErrorUnknown", "unknown error"},
}};

// DeviceLost for a code of the table, nullopt for one after which the process may go on. `detail`
// is for the log.
std::optional<Status> DeviceLossOf(int cuda_error_code, std::string_view detail);

// The same for the text of an exception: on its way through TorchScript's interpreter an exception
// keeps its text and loses its code. Looks for an error's name, and for its text where LibTorch has
// put "CUDA error: " or "CUDA driver error: " before it.
std::optional<Status> DeviceLossIn(std::string_view exception_text);

// Whether the text of an exception tells that memory ran out, of a CUDA device or of its host.
bool IsCudaOutOfMemoryText(std::string_view exception_text);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_DEVICE_CUDA_ERRORS_H_
