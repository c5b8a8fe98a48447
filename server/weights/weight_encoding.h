// WeightEncoding: how the values of one tensor of a weight file become the codes of a packed
// weight. Free of LibTorch: loads and the packer of checkpoints do the same here.
#ifndef TIGHTFIT_SERVER_WEIGHTS_WEIGHT_ENCODING_H_
#define TIGHTFIT_SERVER_WEIGHTS_WEIGHT_ENCODING_H_

#include "kernels/codec.h"
#include "server/weights/weight_table.h"

#include <cstdint>
#include <string>

namespace tightfit {

// Bytes of the buffers beside the tensor itself that WeightEncoding needs for one entry; 0 for an
// entry that is not packed.
struct EncodingScratch {
  int64_t fp16_bytes = 0;           // of tensors in bf16, which are packed as fp16
  int64_t channels_last_bytes = 0;  // of convolutions, whose codes lie in another order
};
EncodingScratch EncodingScratchOf(const WeightEntry& entry);

// Of buffers that all tensors of a table pass through, one after the other.
struct TableScratch {
  int64_t tensor_bytes = 0;  // of the largest tensor as it is stored
  EncodingScratch encoding;
};
TableScratch TableScratchOf(const WeightTable& table);

class WeightEncoding {
 public:
  // `entry` has a format. `values`: the tensor's bytes as stored. `fp16`, `channels_last`: buffers
  // of the sizes above, which this uses as long as it lives. `parallel_for` may be empty. Looks at
  // all values.
  WeightEncoding(const WeightEntry& entry, const void* values, void* fp16, void* channels_last,
                 const ParallelFor& parallel_for);

  // Why the tensor cannot be packed although the table says so: "3 NaN", "7 values above the
  // largest value 0.75 of hf8". Empty if it can.
  const std::string& why_not() const { return why_not_; }
  // If it can.
  const PackedLayout& layout() const { return plan_.layout; }
  // The fp16 patterns in the order of the codes.
  const uint16_t* in_code_order() const { return in_code_order_; }
  // Writes layout().total_bytes to `codes`, which is 16-byte aligned.
  void Encode(uint8_t* codes) const;

 private:
  const ParallelFor parallel_for_;
  EncodingPlan plan_;
  std::string why_not_;
  const uint16_t* in_code_order_ = nullptr;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_WEIGHT_ENCODING_H_
