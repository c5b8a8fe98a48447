#include "server/model/run_torch.h"

#include "server/model/cuda_errors.h"

#include <torch/script.h>

#include <exception>
#include <new>
#include <optional>
#include <string>
#include <utility>

namespace tightfit {
namespace {

Status OutOfMemory(const char* what, const char* exception) {
  return Status(StatusCode::kResourceExhausted, "OUT_OF_MEMORY",
                std::string("could not ") + what + ": the device has not enough memory")
      .WithDetail(exception);
}

Status Failure(const std::string& message, const char* exception) {
  if (std::optional<Status> loss = DeviceLossIn(exception)) return *std::move(loss);
  return Internal(message, exception);
}

}  // namespace

Status RunTorch(const char* what, const std::function<Status()>& body) {
  const std::string message = std::string("could not ") + what;
  try {
    const c10::InferenceMode inference_mode;
    return body();
  } catch (const c10::OutOfMemoryError& exception) {
    return OutOfMemory(what, exception.what_without_backtrace());
  } catch (const std::bad_alloc& exception) {
    return OutOfMemory(what, exception.what());
  } catch (const c10::AcceleratorError& exception) {
    const char* const text = exception.what_without_backtrace();
    if (std::optional<Status> loss = DeviceLossOf(exception.get_error_code(), text)) {
      return *std::move(loss);
    }
    return Internal(message, text);
  } catch (const c10::Error& exception) {
    return Failure(message, exception.what_without_backtrace());
  } catch (const std::exception& exception) {
    return Failure(message, exception.what());
  } catch (...) {
    return Internal(message, "an exception that is no std::exception");
  }
}

}  // namespace tightfit
