// Guarded: the one place where an exception that slips through a model becomes a Status.
#ifndef TIGHTFIT_SERVER_ENGINE_GUARDED_CALL_H_
#define TIGHTFIT_SERVER_ENGINE_GUARDED_CALL_H_

#include "server/base/status.h"

#include <exception>
#include <new>

namespace tightfit {

// Models report by Status; what a library throws all the same must end this request or this model
// and not the process. `what` is the message that a client sees.
template <typename Call>
auto Guarded(const char* what, const Call& call) -> decltype(call()) {
  try {
    return call();
  } catch (const std::bad_alloc&) {
    return Status(StatusCode::kResourceExhausted, "OUT_OF_MEMORY",
                  "the server has not enough memory for this request");
  } catch (const std::exception& error) {
    return Internal(what, error.what());
  } catch (...) {
    return Internal(what, "unknown exception");
  }
}

// How a call ended, whether or not it gives a value.
inline const Status& StatusOf(const Status& status) { return status; }
template <typename T>
Status StatusOf(const Result<T>& result) {
  return result.status();
}

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_ENGINE_GUARDED_CALL_H_
