#include "server/model/packed_ops.h"

#include "kernels/codec.h"
#include "server/model/packed_weight.h"

#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <optional>

namespace tightfit {
namespace {

thread_local at::Tensor decode_scratch;

// Enough weights that a thread's share outweighs its start.
constexpr int64_t kWeightsPerTask = 1 << 16;

WeightFormat FormatByValue(int64_t value) {
  for (const FormatInfo& info : kFormats) {
    if (static_cast<int64_t>(info.format) == value) return info.format;
  }
  TORCH_CHECK(false, "unknown weight format ", value);
}

template <typename Value, typename Decode>
void DecodeAllRows(const PackedLayout& layout, void* out, Decode decode) {
  const int64_t rows_per_task =
      std::max<int64_t>(1, kWeightsPerTask / std::max<int64_t>(1, layout.columns));
  at::parallel_for(0, layout.rows, rows_per_task, [&](int64_t begin, int64_t end) {
    decode(DecodeRange{begin, end - begin, 0, layout.columns},
           static_cast<Value*>(out) + begin * layout.columns);
  });
}

void DecodeWeight(const PackedLayout& layout, const uint8_t* packed, at::ScalarType dtype,
                  void* out) {
  switch (dtype) {
    case at::kFloat:
      return DecodeAllRows<float>(layout, out, [&](DecodeRange range, float* to) {
        DecodeToFp32(layout, packed, range, to);
      });
    case at::kBFloat16:
      return DecodeAllRows<uint16_t>(layout, out, [&](DecodeRange range, uint16_t* to) {
        DecodeToBf16(layout, packed, range, to);
      });
    case at::kHalf:
      return DecodeAllRows<uint16_t>(layout, out, [&](DecodeRange range, uint16_t* to) {
        DecodeToFp16(layout, packed, range, to);
      });
    default:
      TORCH_CHECK(false, "packed weights cannot be used with activations of ", dtype);
  }
}

// The weight as the product needs it; a packed one is a view of the scratch buffer, good until the
// thread's next call.
at::Tensor DenseWeight(const at::Tensor& weight, at::IntArrayRef shape, int64_t format,
                       at::ScalarType dtype) {
  if (weight.scalar_type() != at::kByte) return weight;
  const PackedLayout layout = LayoutOfPackedWeight(weight, FormatByValue(format), shape);
  ReserveDecodeScratch(layout.rows * layout.columns *
                       static_cast<int64_t>(c10::elementSize(dtype)));
  void* const out = decode_scratch.mutable_data_ptr();
  DecodeWeight(layout, PackedBytes(weight), dtype, out);
  const at::TensorOptions options = at::TensorOptions().dtype(dtype);
  if (shape.size() != 4) return at::from_blob(out, shape, options);
  const int64_t c = shape[1];
  const int64_t s = shape[3];
  return at::from_blob(out, shape, {layout.columns, 1, s * c, c}, options);
}

at::Tensor Linear(const at::Tensor& x, const at::Tensor& weight, at::IntArrayRef shape,
                  int64_t format, const std::optional<at::Tensor>& bias) {
  TORCH_CHECK(shape.size() == 2, "a linear weight has 2 dimensions");
  return at::linear(x, DenseWeight(weight, shape, format, x.scalar_type()), bias);
}

at::Tensor Conv2d(const at::Tensor& x, const at::Tensor& weight, at::IntArrayRef shape,
                  int64_t format, const std::optional<at::Tensor>& bias, at::IntArrayRef stride,
                  at::IntArrayRef padding, at::IntArrayRef dilation, int64_t groups) {
  TORCH_CHECK(shape.size() == 4, "a conv2d weight has 4 dimensions");
  return at::conv2d(x, DenseWeight(weight, shape, format, x.scalar_type()), bias, stride, padding,
                    dilation, groups);
}

}  // namespace

MemoryAccount* DecodeScratchAccount() {
  static MemoryAccount* const account =
      MemoryAccounts::Instance().Get("", "", MemoryPurpose::kScratch);
  return account;
}

void ReserveDecodeScratch(int64_t size_bytes) {
  if (decode_scratch.defined() && decode_scratch.numel() >= size_bytes) return;
  decode_scratch.reset();  // before the larger one exists, not after
  const ScopedMemoryAccount account(DecodeScratchAccount());
  decode_scratch = at::empty({size_bytes}, at::TensorOptions().dtype(at::kByte));
}

void ReleaseDecodeScratch() { decode_scratch.reset(); }

}  // namespace tightfit

TORCH_LIBRARY(tightfit, library) {
  library.def("linear(Tensor x, Tensor weight, int[] shape, int format, Tensor? bias) -> Tensor");
  library.def(
      "conv2d(Tensor x, Tensor weight, int[] shape, int format, Tensor? bias, int[] stride, "
      "int[] padding, int[] dilation, int groups) -> Tensor");
}

TORCH_LIBRARY_IMPL(tightfit, CPU, library) {
  library.impl("linear", &tightfit::Linear);
  library.impl("conv2d", &tightfit::Conv2d);
}
