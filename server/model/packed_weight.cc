#include "server/model/packed_weight.h"

#include "kernels/packed_header.h"

#include <ATen/Parallel.h>

#include <algorithm>

namespace tightfit {
namespace {

RowsAndColumns RowsAndColumnsOf(at::IntArrayRef shape) {
  TORCH_CHECK(!shape.empty(), "a weight has at least one dimension");
  RowsAndColumns size{.rows = shape[0], .columns = 1};
  for (const int64_t dimension : shape.slice(1)) size.columns *= dimension;
  return size;
}

// What a packed weight on another device than the CPU carries.
struct KnownLayout final : c10::BackendMeta {
  explicit KnownLayout(const PackedLayout& known) : layout(known) {}
  const PackedLayout layout;
};

PackedLayout LayoutInHeader(const at::Tensor& packed) {
  const auto* const bytes = packed.const_data_ptr<uint8_t>();
  PackedHeader header;
  const PackedHeaderError error =
      ParsePackedHeader({bytes, static_cast<size_t>(packed.numel())}, packed.numel(), &header);
  TORCH_CHECK(error == PackedHeaderError::kNone, "packed weight: ", PackedHeaderErrorText(error));
  return header.layout;
}

PackedLayout LayoutOf(const at::Tensor& packed) {
  TORCH_CHECK(packed.is_contiguous(), "a packed weight is contiguous");
  if (packed.is_cpu()) return LayoutInHeader(packed);
  const auto* const known =
      dynamic_cast<const KnownLayout*>(packed.unsafeGetTensorImpl()->get_backend_meta());
  TORCH_CHECK(known != nullptr, "a packed weight was moved without its layout");
  return known->layout;
}

void InLibTorchThreads(int64_t count, int64_t grain,
                       const std::function<void(int64_t, int64_t)>& work) {
  at::parallel_for(0, count, grain, work);
}

}  // namespace

EncodingPlan PlanWeight(WeightFormat format, at::IntArrayRef shape, const uint16_t* fp16) {
  const RowsAndColumns size = RowsAndColumnsOf(shape);
  return PlanEncoding(format, size.rows, size.columns, fp16, InLibTorchThreads);
}

at::Tensor PackWeight(const PackedLayout& layout, at::IntArrayRef shape, const uint16_t* fp16) {
  at::Tensor packed =
      at::empty({kPackedHeaderBytes + layout.total_bytes}, at::TensorOptions().dtype(at::kByte));
  auto* const bytes = packed.mutable_data_ptr<uint8_t>();
  PackedHeader header{.rank = static_cast<int>(shape.size()), .layout = layout};
  std::copy(shape.begin(), shape.end(), header.shape.begin());
  SerializePackedHeader(header, std::span<uint8_t, kPackedHeaderBytes>(bytes, kPackedHeaderBytes));
  EncodeTensor(layout, fp16, bytes + kPackedHeaderBytes, InLibTorchThreads);
  return packed;
}

at::Tensor CopyPackedWeight(const at::Tensor& packed, at::Device device) {
  const PackedLayout layout = LayoutOf(packed);
  at::Tensor copy = packed.to(device, /*non_blocking=*/false, /*copy=*/true);
  if (!device.is_cpu()) {
    copy.unsafeGetTensorImpl()->set_backend_meta(c10::make_intrusive<KnownLayout>(layout));
  }
  return copy;
}

PackedLayout LayoutOfPackedWeight(const at::Tensor& packed, WeightFormat format,
                                  at::IntArrayRef shape) {
  const PackedLayout layout = LayoutOf(packed);
  const RowsAndColumns size = RowsAndColumnsOf(shape);
  TORCH_CHECK(layout.format == format && layout.rows == size.rows && layout.columns == size.columns,
              "a packed weight of shape ", shape, " has another format or shape");
  return layout;
}

const uint8_t* PackedBytes(const at::Tensor& packed) {
  return packed.const_data_ptr<uint8_t>() + kPackedHeaderBytes;
}

}  // namespace tightfit
