#include "server/weights/decode_product.h"

#include "kernels/codec.h"
#include "server/device/cpu_products.h"
#include "server/device/cuda_device.h"

#include <ATen/Parallel.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/linear.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <optional>

namespace tightfit {
namespace {

thread_local at::Tensor decode_scratch;

// Enough weights that a thread's share outweighs its start.
constexpr int64_t kWeightsPerTask = 1 << 16;

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

void DecodeWeightOnCuda(const Weight& weight, at::ScalarType dtype, void* out) {
  const at::Device device = weight.tensor().device();
  const c10::Stream stream = c10::impl::VirtualGuardImpl(device.type()).getStream(device);
  TORCH_CHECK(stream.id() == c10::Stream(c10::Stream::DEFAULT, device).id(),
              "packed weights are decoded on the default stream only");
  // Kernels go to the device that is current on the thread, whoever set it.
  const c10::DeviceGuard guard(device);
  const Status status = DecodeOnCuda(weight.layout(), weight.codes(), DecodedTypeOf(dtype), out);
  TORCH_CHECK(status.ok(), status.ForLog());
}

// The weight as LibTorch's operators need it; of a packed one a view of the scratch buffer, good
// until the thread's next call.
at::Tensor DenseWeight(const Weight& weight, at::ScalarType dtype) {
  const at::Tensor& held = weight.tensor();
  if (!weight.is_packed()) return held;
  const PackedLayout& layout = weight.layout();
  ReserveDecodeScratch(layout.rows * layout.columns * static_cast<int64_t>(c10::elementSize(dtype)),
                       held.device());
  void* const out = decode_scratch.mutable_data_ptr();
  if (held.is_cpu()) {
    DecodeWeightOnCpu(layout, weight.codes(), dtype, out);
  } else {
    DecodeWeightOnCuda(weight, dtype, out);
  }
  const at::TensorOptions options = at::TensorOptions().dtype(dtype).device(held.device());
  const at::IntArrayRef shape = weight.shape();
  if (shape.size() != 4) return at::from_blob(out, shape, options);
  const int64_t c = shape[1];
  const int64_t s = shape[3];
  return at::from_blob(out, shape, {layout.columns, 1, s * c, c}, options);
}

// What `x` is multiplied in: its own dtype, or fp32 on a processor without kernels for that.
at::ScalarType ProductDtype(const at::Tensor& x) {
  return x.is_cpu() && !CpuMultipliesIn(x.scalar_type()) ? at::kFloat : x.scalar_type();
}

std::optional<at::Tensor> To(at::ScalarType dtype, const std::optional<at::Tensor>& tensor) {
  if (!tensor.has_value()) return std::nullopt;
  return tensor->to(dtype);
}

// Weights are rounded to x's dtype whatever they are multiplied in, and results too: a processor
// decides how fast an image is drawn, and not by which weights.
class DecodingProduct final : public Product {
 public:
  at::Tensor Linear(const at::Tensor& x, const Weight& weight,
                    const std::optional<at::Tensor>& bias) const override {
    const at::ScalarType dtype = ProductDtype(x);
    const at::Tensor dense = DenseWeight(weight, x.scalar_type()).to(dtype);
    return at::linear(x.to(dtype), dense, To(dtype, bias)).to(x.scalar_type());
  }

  at::Tensor Conv2d(const at::Tensor& x, const Weight& weight,
                    const std::optional<at::Tensor>& bias,
                    const ConvGeometry& geometry) const override {
    const at::ScalarType dtype = ProductDtype(x);
    const at::Tensor dense = DenseWeight(weight, x.scalar_type()).to(dtype);
    return at::conv2d(x.to(dtype), dense, To(dtype, bias), geometry.stride, geometry.padding,
                      geometry.dilation, geometry.groups)
        .to(x.scalar_type());
  }
};

}  // namespace

const Product& DecodeProduct() {
  static const DecodingProduct product;
  return product;
}

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
