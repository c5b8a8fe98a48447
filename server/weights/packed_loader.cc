#include "server/base/load_stop.h"
#include "server/model/model_errors.h"
#include "server/weights/slots_by_key.h"
#include "server/weights/stored_dtype.h"
#include "server/weights/weight_loader.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <atomic>
#include <span>
#include <utility>

namespace tightfit {
namespace {

// A tensor that is being read, and where it goes.
struct Reading {
  const CheckpointTensor* tensor = nullptr;
  WeightSlot* slot = nullptr;
  at::Tensor bytes;  // the codes, or the dense tensor as it is stored
  Status status;
};

// The server multiplies by convolutions whose channels are last.
bool IsInOrder(const PackedHeader& header) {
  return header.rank != 4 || header.shape[2] * header.shape[3] == 1 ||
         header.order == CodeOrder::kChannelsLast;
}

class PackedLoading {
 public:
  PackedLoading(const PackedCheckpoint& file, const LoadOptions& options,
                const std::function<bool(int64_t)>& progress)
      : file_(file), options_(options), progress_(progress) {}

  Status Run(const SlotsByKey& slots) {
    std::vector<Reading> readings;
    for (const CheckpointTensor& tensor : file_.tensors()) {
      const auto slot = slots.find(tensor.stored.name);
      if (slot == slots.end()) continue;
      TF_RETURN_IF_ERROR(CheckTakes(*slot->second, tensor));
      readings.push_back({.tensor = &tensor, .slot = slot->second, .bytes = {}, .status = {}});
    }
    int64_t read_bytes = 0;
    for (std::span<Reading> rest(readings); !rest.empty();) {
      size_t count = 0;
      int64_t bytes = 0;
      while (count < rest.size() &&
             (count == 0 || bytes + rest[count].tensor->stored.size_bytes <= kReadBatchBytes)) {
        bytes += rest[count++].tensor->stored.size_bytes;
      }
      TF_RETURN_IF_ERROR(ReadBatch(rest.first(count)));
      rest = rest.subspan(count);
      read_bytes += bytes;
      // The rest of the file is its header and index.
      if (progress_ && !progress_(rest.empty() ? bytes + file_.size_bytes() - read_bytes : bytes)) {
        return LoadStopped();
      }
    }
    return OkStatus();
  }

  LoadReport& report() { return report_; }

 private:
  Status CheckTakes(const WeightSlot& slot, const CheckpointTensor& tensor) const {
    if (!tensor.header.has_value()) return OkStatus();
    const std::string& name = tensor.stored.name;
    if (!slot.weight) {
      return BadModelDirectory(file_.name(),
                               "packed weight for a plain tensor of the graph: " + name);
    }
    if (!IsInOrder(*tensor.header)) {
      return BadModelDirectory(file_.name(),
                               "codes that are not channels last; pack the model again: " + name);
    }
    return OkStatus();
  }

  bool StaysWhereItIsRead(const CheckpointTensor& tensor) const {
    return options_.device.is_cpu() &&
           (tensor.header.has_value() || ScalarTypeOf(tensor.stored.dtype) == options_.dtype);
  }

  Status ReadBatch(std::span<Reading> batch) {
    for (Reading& reading : batch) {
      const CheckpointTensor& tensor = *reading.tensor;
      const ScopedMemoryAccount account(StaysWhereItIsRead(tensor) ? options_.weights
                                                                   : options_.scratch);
      reading.bytes = at::empty(tensor.stored.shape, at::TensorOptions()
                                                         .dtype(ScalarTypeOf(tensor.stored.dtype))
                                                         .pinned_memory(options_.device.is_cuda()));
    }
    // Whoever is free takes the next one: sizes differ a thousandfold.
    std::atomic<size_t> next = 0;
    const auto read = [&](int64_t, int64_t) {
      for (size_t i = next++; i < batch.size(); i = next++) {
        batch[i].status = file_.Read(*batch[i].tensor, batch[i].bytes.mutable_data_ptr());
      }
    };
    at::parallel_for(0, at::get_num_threads(), 1, read);
    for (Reading& reading : batch) TF_RETURN_IF_ERROR(reading.status);
    const ScopedMemoryAccount account(options_.weights);
    for (Reading& reading : batch) Fill(reading);
    return OkStatus();
  }

  void Fill(Reading& reading) {
    const CheckpointTensor& tensor = *reading.tensor;
    at::Tensor bytes = std::move(reading.bytes);
    if (!options_.device.is_cpu()) bytes = bytes.to(options_.device);
    if (!tensor.header.has_value()) {
      reading.slot->SetDense(bytes.to(options_.dtype));
      return;
    }
    const PackedLayout& layout = tensor.header->layout;
    const int64_t weight_count = layout.rows * layout.columns;
    report_.packed_bytes += layout.total_bytes;
    report_.packed_parameter_count += weight_count;
    report_.packed_module_count += 1;
    report_.largest_decoded_bytes =
        std::max(report_.largest_decoded_bytes,
                 weight_count * static_cast<int64_t>(c10::elementSize(options_.dtype)));
    reading.slot->weight->SetPacked(layout, tensor.shape(), std::move(bytes));
  }

  const PackedCheckpoint& file_;
  const LoadOptions& options_;
  const std::function<bool(int64_t)>& progress_;
  LoadReport report_;
};

}  // namespace

Result<LoadReport> LoadPackedWeights(const PackedCheckpoint& file, std::vector<WeightSlot>& slots,
                                     const LoadOptions& options,
                                     const std::function<bool(int64_t)>& progress) {
  std::vector<std::vector<int64_t>> shapes;
  for (const CheckpointTensor& tensor : file.tensors()) shapes.push_back(tensor.shape());
  std::vector<NamedShape> named;
  for (size_t i = 0; i < shapes.size(); ++i) {
    named.push_back({file.tensors()[i].stored.name, shapes[i]});
  }
  TF_ASSIGN_OR_RETURN(const SlotsByKey by_key, FindSlots(file.name(), named, slots));
  ClearOnFailure clear_on_failure(&slots);
  PackedLoading loading(file, options, progress);
  TF_RETURN_IF_ERROR(loading.Run(by_key));
  clear_on_failure.Keep();
  return std::move(loading.report());
}

}  // namespace tightfit
