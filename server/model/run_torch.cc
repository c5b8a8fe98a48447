#include "server/model/run_torch.h"

#include <torch/script.h>

#include <exception>
#include <new>
#include <string>

namespace tightfit {
namespace {

Status OutOfMemory(const char* what, const char* exception) {
  return Status(StatusCode::kResourceExhausted, "OUT_OF_MEMORY",
                std::string("could not ") + what + ": the device has not enough memory")
      .WithDetail(exception);
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
  } catch (const c10::Error& exception) {
    return Internal(message, exception.what_without_backtrace());
  } catch (const std::exception& exception) {
    return Internal(message, exception.what());
  } catch (...) {
    return Internal(message, "an exception that is no std::exception");
  }
}

}  // namespace tightfit
