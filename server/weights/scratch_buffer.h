// ScratchBuffer: memory that tensors pass through, one after the other; not cleared first.
#ifndef TIGHTFIT_SERVER_WEIGHTS_SCRATCH_BUFFER_H_
#define TIGHTFIT_SERVER_WEIGHTS_SCRATCH_BUFFER_H_

#include "kernels/packed_layout.h"

#include <cstdint>
#include <memory>

namespace tightfit {

class ScratchBuffer {
 public:
  // At least so much; what it held is lost where it was smaller.
  void Reserve(int64_t size_bytes) {
    if (size_bytes <= size_bytes_) return;
    bytes_.reset();
    bytes_ = std::make_unique_for_overwrite<uint8_t[]>(static_cast<size_t>(size_bytes));
    size_bytes_ = size_bytes;
  }
  // On the border that packed tensors need.
  uint8_t* data() { return bytes_.get(); }

 private:
  static_assert(__STDCPP_DEFAULT_NEW_ALIGNMENT__ >= kPartAlignmentBytes);
  std::unique_ptr<uint8_t[]> bytes_;
  int64_t size_bytes_ = 0;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_SCRATCH_BUFFER_H_
