#include "server/device/run_torch.h"

#include "server/device/cuda_errors.h"
#include "server/memory/memory_accounts.h"

#include <ATen/Context.h>
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

Status Failure(const char* what, const std::string& message, const char* exception) {
  if (std::optional<Status> loss = DeviceLossIn(exception)) return *std::move(loss);
  if (IsCudaOutOfMemoryText(exception)) return OutOfMemory(what, exception);
  return Internal(message, exception);
}

// The exception that is being handled, as a status.
Status StatusOfException(const char* what, bool ran_out_of_memory) {
  const std::string message = std::string("could not ") + what;
  const auto failed = [&](const char* text) {
    return ran_out_of_memory ? OutOfMemory(what, text) : Failure(what, message, text);
  };
  try {
    throw;
  } catch (const c10::OutOfMemoryError& exception) {
    return OutOfMemory(what, exception.what_without_backtrace());
  } catch (const std::bad_alloc& exception) {
    return OutOfMemory(what, exception.what());
  } catch (const c10::AcceleratorError& exception) {
    const char* const text = exception.what_without_backtrace();
    if (std::optional<Status> loss = DeviceLossOf(exception.get_error_code(), text)) {
      return *std::move(loss);
    }
    return failed(text);
  } catch (const c10::Error& exception) {
    return failed(exception.what_without_backtrace());
  } catch (const std::exception& exception) {
    return failed(exception.what());
  } catch (...) {
    return failed("an exception that is no std::exception");
  }
}

}  // namespace

Status RunTorch(const char* what, const std::function<Status()>& body) {
  const int64_t failed_before = MemoryAccounts::Instance().failed_count();
  const auto ran_out_of_memory = [failed_before] {
    return MemoryAccounts::Instance().failed_count() != failed_before;
  };
  Status status;
  try {
    const c10::InferenceMode inference_mode;
    status = body();
  } catch (...) {
    // TorchScript's interpreter passes on the text of an exception, and not its type.
    status = StatusOfException(what, ran_out_of_memory());
  }
  if (!ran_out_of_memory()) return status;
  // On a CPU alone, whose allocator counts: a matrix product that finds no memory in oneDNN
  // switches oneDNN off for the whole process and goes on without it. What comes of it, and of all
  // that follows, is not what it would have been.
  at::globalContext().setUserEnabledMkldnn(true);
  return status.ok() ? OutOfMemory(what, "an allocation failed and LibTorch went another way")
                     : status;
}

}  // namespace tightfit
