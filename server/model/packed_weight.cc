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

PackedLayout LayoutOfPackedWeight(const at::Tensor& packed, WeightFormat format,
                                  at::IntArrayRef shape) {
  TORCH_CHECK(packed.is_contiguous(), "a packed weight is contiguous");
  const auto* const bytes = packed.const_data_ptr<uint8_t>();
  PackedHeader header;
  const PackedHeaderError error =
      ParsePackedHeader({bytes, static_cast<size_t>(packed.numel())}, packed.numel(), &header);
  TORCH_CHECK(error == PackedHeaderError::kNone, "packed weight: ", PackedHeaderErrorText(error));
  const RowsAndColumns size = RowsAndColumnsOf(shape);
  TORCH_CHECK(header.layout.format == format && header.layout.rows == size.rows &&
                  header.layout.columns == size.columns,
              "a packed weight of shape ", shape, " has another format or shape");
  return header.layout;
}

const uint8_t* PackedBytes(const at::Tensor& packed) {
  return packed.const_data_ptr<uint8_t>() + kPackedHeaderBytes;
}

}  // namespace tightfit
