#include "server/model/packed_ops.h"

#include "kernels/codec.h"
#include "server/device/cuda_device.h"
#include "server/model/packed_weight.h"

#include <ATen/Parallel.h>
#include <c10/core/impl/VirtualGuardImpl.h>
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

void DecodeWeightOnCpu(const PackedLayout& layout, const uint8_t* packed, at::ScalarType dtype,
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

cuda::DecodedType DecodedTypeOf(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat:
      return cuda::DecodedType::kFp32;
    case at::kBFloat16:
      return cuda::DecodedType::kBf16;
    case at::kHalf:
      return cuda::DecodedType::kFp16;
    default:
      TORCH_CHECK(false, "packed weights cannot be used with activations of ", dtype);
  }
}

void DecodeWeightOnCuda(const PackedLayout& layout, const at::Tensor& weight, at::ScalarType dtype,
                        void* out) {
  const c10::Stream stream =
      c10::impl::VirtualGuardImpl(weight.device().type()).getStream(weight.device());
  TORCH_CHECK(stream.id() == c10::Stream(c10::Stream::DEFAULT, weight.device()).id(),
              "packed weights are decoded on the default stream only");
  // Kernels go to the device that is current on the thread, whoever set it.
  const c10::DeviceGuard device(weight.device());
  const Status status = DecodeOnCuda(layout, PackedBytes(weight), DecodedTypeOf(dtype), out);
  TORCH_CHECK(status.ok(), status.ForLog());
}

// The weight as the product needs it; a packed one is a view of the scratch buffer, good until the
// thread's next call.
at::Tensor DenseWeight(const at::Tensor& weight, at::IntArrayRef shape, int64_t format,
                       at::ScalarType dtype) {
  if (weight.scalar_type() != at::kByte) return weight;
  const PackedLayout layout = LayoutOfPackedWeight(weight, FormatByValue(format), shape);
  ReserveDecodeScratch(layout.rows * layout.columns * static_cast<int64_t>(c10::elementSize(dtype)),
                       weight.device());
  void* const out = decode_scratch.mutable_data_ptr();
  if (weight.is_cpu()) {
    DecodeWeightOnCpu(layout, PackedBytes(weight), dtype, out);
  } else {
    DecodeWeightOnCuda(layout, weight, dtype, out);
  }
  const at::TensorOptions options = at::TensorOptions().dtype(dtype).device(weight.device());
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

void ReserveDecodeScratch(int64_t size_bytes, at::Device device) {
  if (decode_scratch.defined() && decode_scratch.device() == device &&
      decode_scratch.numel() >= size_bytes) {
    return;
  }
  decode_scratch.reset();  // before the larger one exists, not after
  const ScopedMemoryAccount account(DecodeScratchAccount());
  decode_scratch = at::empty({size_bytes}, at::TensorOptions().dtype(at::kByte).device(device));
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

// Entries of the dispatcher's table, reached once LibTorch's CUDA libraries are loaded.
TORCH_LIBRARY_IMPL(tightfit, CUDA, library) {
  library.impl("linear", &tightfit::Linear);
  library.impl("conv2d", &tightfit::Conv2d);
}
