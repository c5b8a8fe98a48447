// LibTorch's name of a stored dtype.
#ifndef TIGHTFIT_SERVER_WEIGHTS_STORED_DTYPE_H_
#define TIGHTFIT_SERVER_WEIGHTS_STORED_DTYPE_H_

#include "server/model/safetensors.h"

#include <c10/core/ScalarType.h>

namespace tightfit {

inline at::ScalarType ScalarTypeOf(StoredDtype dtype) {
  switch (dtype) {
    case StoredDtype::kF16:
      return at::kHalf;
    case StoredDtype::kBF16:
      return at::kBFloat16;
    case StoredDtype::kF32:
      return at::kFloat;
    case StoredDtype::kU8:
      return at::kByte;
  }
  return at::kFloat;
}

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_STORED_DTYPE_H_
