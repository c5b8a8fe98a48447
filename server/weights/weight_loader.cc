#include "server/weights/weight_loader.h"

#include "kernels/cuda/encode_task.h"
#include "server/base/load_stop.h"
#include "server/device/cuda_device.h"
#include "server/model/model_errors.h"
#include "server/model/sha256.h"
#include "server/weights/slots_by_key.h"
#include "server/weights/stored_dtype.h"
#include "server/weights/weight_encoding.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/DeviceGuard.h>

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace tightfit {
namespace {

// Reads and hashes the file's tensors in order.
class HashingReader {
 public:
  HashingReader(const SafetensorsFile& file, const std::function<bool(int64_t)>& progress)
      : file_(file), progress_(progress) {
    sha256_.Update(file.header_bytes().data(), file.header_bytes().size());
    static_cast<void>(Report(static_cast<int64_t>(file.header_bytes().size())));
  }

  Status Read(const StoredTensor& tensor, void* out) {
    TF_RETURN_IF_ERROR(file_.reader().ReadAt(tensor.offset_bytes, tensor.size_bytes, out));
    sha256_.Update(out, static_cast<size_t>(tensor.size_bytes));
    return Report(tensor.size_bytes) ? OkStatus() : LoadStopped();
  }

  Status CheckDigest(const std::string& expected) {
    if (expected.empty()) return OkStatus();
    const std::string found = sha256_.HexDigest();
    return found == expected ? OkStatus() : ChecksumMismatch(file_.name(), expected, found);
  }

 private:
  // Whether the load goes on.
  bool Report(int64_t bytes) { return !progress_ || progress_(bytes); }

  const SafetensorsFile& file_;
  const std::function<bool(int64_t)>& progress_;
  Sha256 sha256_;
};

void InLibTorchThreads(int64_t count, int64_t grain,
                       const std::function<void(int64_t, int64_t)>& work) {
  at::parallel_for(0, count, grain, work);
}

// Pinned memory goes over the bus without a copy in between.
at::Tensor NewBytes(int64_t size_bytes, bool pinned) {
  return at::empty({size_bytes}, at::TensorOptions().dtype(at::kByte).pinned_memory(pinned));
}

class Loading {
 public:
  Loading(const SafetensorsFile& file, const WeightTable& table, const LoadOptions& options,
          const std::function<bool(int64_t)>& progress)
      : table_(table), options_(options), reader_(file, progress) {}

  // `slots` by the names of their tensors.
  Status Run(const std::string& sha256, const SlotsByKey& slots) {
    MakeStaging();
    const ScopedMemoryAccount account(options_.weights);
    for (const WeightEntry& entry : table_.entries()) {
      TF_RETURN_IF_ERROR(reader_.Read(entry.tensor, staging_.mutable_data_ptr()));
      const auto slot = slots.find(entry.tensor.name);
      if (slot != slots.end()) Fill(entry, slot->second);
    }
    return reader_.CheckDigest(sha256);
  }

  // Why a weight of the scope is not packed, by its name.
  const std::unordered_map<std::string_view, std::string>& unpacked() const { return unpacked_; }
  LoadReport& report() { return report_; }

 private:
  void MakeStaging() {
    const TableScratch scratch = TableScratchOf(table_);
    const ScopedMemoryAccount account(options_.scratch);
    const bool pinned = options_.device.is_cuda();
    staging_ = NewBytes(scratch.tensor_bytes, pinned);
    fp16_ = NewBytes(scratch.encoding.fp16_bytes, pinned);
    channels_last_ = NewBytes(scratch.encoding.channels_last_bytes, pinned);
  }

  void Fill(const WeightEntry& entry, WeightSlot* slot) {
    const StoredTensor& tensor = entry.tensor;
    std::string why_dense = entry.why_dense;
    if (entry.format.has_value()) {
      why_dense = slot->weight ? Pack(entry, slot) : slot->parameter.why_plain;
      if (slot->weight && why_dense.empty()) return;
    }
    if (!why_dense.empty()) unpacked_[tensor.name] = std::move(why_dense);
    const at::Tensor stored =
        at::from_blob(staging_.mutable_data_ptr(), tensor.shape, ScalarTypeOf(tensor.dtype));
    if (options_.device.is_cpu()) {
      slot->SetDense(stored.to(options_.dtype, /*non_blocking=*/false, /*copy=*/true));
    } else {
      slot->SetDense(stored.to(options_.dtype).to(options_.device));
    }
  }

  // Why not; empty once it is.
  std::string Pack(const WeightEntry& entry, WeightSlot* slot) {
    const StoredTensor& tensor = entry.tensor;
    const WeightEncoding encoding(entry, staging_.const_data_ptr(), fp16_.mutable_data_ptr(),
                                  channels_last_.mutable_data_ptr(), parallel_for_);
    if (!encoding.why_not().empty()) return encoding.why_not();
    at::Tensor codes = at::empty({encoding.layout().total_bytes},
                                 at::TensorOptions().dtype(at::kByte).device(options_.device));
    if (options_.device.is_cuda()) {
      EncodeOnDevice(encoding, codes);
    } else {
      encoding.Encode(codes.mutable_data_ptr<uint8_t>());
    }
    report_.packed_bytes += codes.numel();
    report_.packed_parameter_count += tensor.element_count;
    report_.packed_module_count += 1;
    report_.largest_decoded_bytes =
        std::max(report_.largest_decoded_bytes,
                 tensor.element_count * static_cast<int64_t>(c10::elementSize(options_.dtype)));
    slot->weight->SetPacked(encoding.layout(), tensor.shape, std::move(codes));
    return {};
  }

  // The values go over the bus in 16 bits and are packed where they stay: a search for scales takes
  // a CPU longer than the bus. The next tensor is read meanwhile.
  void EncodeOnDevice(const WeightEncoding& encoding, const at::Tensor& codes) {
    const ScopedMemoryAccount account(options_.scratch);
    const PackedLayout& layout = encoding.layout();
    const at::Tensor values =
        at::from_blob(const_cast<uint16_t*>(encoding.in_code_order()),
                      {layout.rows * layout.columns}, at::TensorOptions().dtype(at::kHalf))
            .to(options_.device);
    const at::Tensor workspace =
        at::empty({cuda::WorkspaceBytes(layout)}, codes.options().dtype(at::kByte));
    const c10::DeviceGuard guard(options_.device);  // kernels go to the thread's current device
    const Status packed =
        EncodeOnCuda(layout, static_cast<const uint16_t*>(values.const_data_ptr()),
                     codes.mutable_data_ptr<uint8_t>(), workspace.mutable_data_ptr());
    TORCH_CHECK(packed.ok(), packed.ForLog());
  }

  const WeightTable& table_;
  const LoadOptions& options_;
  const ParallelFor parallel_for_ = InLibTorchThreads;
  HashingReader reader_;
  at::Tensor staging_;
  at::Tensor channels_last_;
  at::Tensor fp16_;
  std::unordered_map<std::string_view, std::string> unpacked_;
  LoadReport report_;
};

}  // namespace

Result<LoadReport> LoadWeights(const SafetensorsFile& file, const std::string& sha256,
                               const WeightTable& table, std::vector<WeightSlot>& slots,
                               const LoadOptions& options,
                               const std::function<bool(int64_t)>& progress) {
  std::vector<NamedShape> named;
  for (const StoredTensor& tensor : file.tensors()) named.push_back({tensor.name, tensor.shape});
  TF_ASSIGN_OR_RETURN(const SlotsByKey by_key, FindSlots(file.name(), named, slots));
  ClearOnFailure clear_on_failure(&slots);
  Loading loading(file, table, options, progress);
  TF_RETURN_IF_ERROR(loading.Run(sha256, by_key));
  clear_on_failure.Keep();
  for (const WeightSlot& slot : slots) {
    const auto unpacked = loading.unpacked().find(slot.parameter.key);
    if (unpacked == loading.unpacked().end()) continue;
    loading.report().unpacked_modules.push_back({slot.parameter.module, unpacked->second});
  }
  return std::move(loading.report());
}

}  // namespace tightfit
