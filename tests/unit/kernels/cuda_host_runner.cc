#include "tests/unit/kernels/cuda_host_runner.h"

#include "kernels/cuda/decode_body.h"
#include "kernels/cuda/encode_passes.h"
#include "kernels/cuda/visit_format.h"
#include "tests/unit/kernels/packed_tensor_probe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>

namespace tightfit::cuda {
namespace {

template <WeightFormat kFormat, DecodedType kType>
void RunDecodeGrid(const DecodePlan& plan) {
  for (uint32_t block = 0; block < plan.table.blocks; ++block) {
    for (uint32_t thread = 0; thread < kThreadsPerBlock; ++thread) {
      if (plan.is_flat) {
        DecodeBody<kFormat, kType, true>(plan.table, block, thread);
      } else {
        DecodeBody<kFormat, kType, false>(plan.table, block, thread);
      }
    }
  }
  for (uint32_t block = 0; block < plan.side.blocks; ++block) {
    for (uint32_t thread = 0; thread < kThreadsPerBlock; ++thread) {
      SideBody<kType>(plan.side, block, thread);
    }
  }
}

void RunDecode(WeightFormat format, const DecodePlan& plan, DecodedType type) {
  VisitFormat(format, [&](auto constant) {
    constexpr WeightFormat kFormat = decltype(constant)::value;
    switch (type) {
      case DecodedType::kFp16:
        return RunDecodeGrid<kFormat, DecodedType::kFp16>(plan);
      case DecodedType::kBf16:
        return RunDecodeGrid<kFormat, DecodedType::kBf16>(plan);
      case DecodedType::kFp32:
        return RunDecodeGrid<kFormat, DecodedType::kFp32>(plan);
    }
  });
}

// Sixteen-byte aligned, and not a byte longer than it has to be: the address sanitizer sees what
// reads or writes outside.
class AlignedBytes {
 public:
  explicit AlignedBytes(size_t size) : bytes_(size == 0 ? nullptr : New(size)), size_(size) {}
  uint8_t* get() { return bytes_.get(); }
  std::vector<uint8_t> Copy() const { return {bytes_.get(), bytes_.get() + size_}; }

 private:
  struct Free {
    void operator()(uint8_t* bytes) const { std::free(bytes); }
  };
  static uint8_t* New(size_t size) {
    return static_cast<uint8_t*>(std::aligned_alloc(16, (size + 15) / 16 * 16));
  }
  std::unique_ptr<uint8_t, Free> bytes_;
  size_t size_;
};

}  // namespace

std::vector<std::vector<uint8_t>> HostRunner::Decode(std::span<const PackedTensor> tensors,
                                                     DecodedType type) {
  std::vector<AlignedBytes> packed;
  std::vector<Guarded<uint8_t>> outs;
  std::vector<DecodeJob> jobs;
  std::vector<int64_t> sizes;
  for (const PackedTensor& tensor : tensors) {
    packed.emplace_back(tensor.packed.size());
    if (!tensor.packed.empty()) {
      std::memcpy(packed.back().get(), tensor.packed.data(), tensor.packed.size());
    }
    sizes.push_back(tensor.layout.rows * tensor.layout.columns * BytesOf(type));
    outs.emplace_back(sizes.back(), tensor.misalignment * BytesOf(type));
  }
  for (size_t i = 0; i < tensors.size(); ++i) {
    jobs.push_back({tensors[i].layout, packed[i].get(), outs[i].begin()});
  }
  DecodePlan plan;
  EXPECT_TRUE(PlanDecode(jobs, type, &plan));
  RunDecode(tensors[0].layout.format, plan, type);
  std::vector<std::vector<uint8_t>> results;
  for (size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_TRUE(outs[i].GuardsIntact());
    results.emplace_back(outs[i].begin(), outs[i].begin() + sizes[i]);
  }
  return results;
}

std::vector<uint8_t> HostRunner::Encode(const PackedLayout& layout,
                                        std::span<const uint16_t> fp16) {
  EXPECT_TRUE(CanEncode(layout));
  AlignedBytes packed(layout.total_bytes);
  AlignedBytes workspace(WorkspaceBytes(layout));
  if (layout.total_bytes == 0) return {};
  // What the launcher does too.
  std::memset(packed.get(), 0, layout.total_bytes);
  if (WorkspaceBytes(layout) != 0) std::memset(workspace.get(), 0, WorkspaceBytes(layout));
  const EncodeTask task = EncodeTaskOf(layout, fp16.data(), packed.get(), workspace.get());
  VisitFormat(layout.format, [&](auto format) {
    ForEachPass<decltype(format)::value>(task, [&](auto pass) {
      using Pass = typename decltype(pass)::type;
      for (uint64_t i = 0; i < Pass::Count(task); ++i) Pass::Run(task, i);
    });
  });
  return packed.Copy();
}

std::vector<uint32_t> HostRunner::CountMagnitudes(std::span<const uint16_t> fp16) {
  std::vector<uint32_t> counts(kMagnitudes);
  for (uint64_t i = 0; i < fp16.size() / kGroupWeights + 1; ++i) {
    CountMagnitudesBody(fp16.data(), fp16.size(), counts.data(), i);
  }
  return counts;
}

}  // namespace tightfit::cuda
