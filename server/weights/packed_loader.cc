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

// Empties the slots at its end, also when LibTorch throws.
struct ClearBatch {
  std::span<Reading> batch;
  ~ClearBatch() {
    for (Reading& reading : batch) reading.slot->weight->Clear();
  }
};

// The server multiplies by convolutions whose channels are last.
bool IsInOrder(const PackedHeader& header) {
  return header.rank != 4 || header.shape[2] * header.shape[3] == 1 ||
         header.order == CodeOrder::kChannelsLast;
}

// Hears of tensors that are in their slots: what of the file is behind them. Ends the reading with
// an error.
using AfterBatch = std::function<Status(std::span<Reading> batch, int64_t file_bytes)>;

class PackedLoading {
 public:
  PackedLoading(const PackedCheckpoint& file, const WeightTable& table, const LoadOptions& options)
      : file_(file), table_(table), options_(options) {}

  // Those that are streamed, or all others.
  Status Run(const SlotsByKey& slots, bool streamed, const AfterBatch& after_batch) {
    std::vector<Reading> readings;
    for (size_t i = 0; i < file_.tensors().size(); ++i) {
      const CheckpointTensor& tensor = file_.tensors()[i];
      const auto slot = slots.find(tensor.stored.name);
      if (slot == slots.end() || table_.entries()[i].is_streamed != streamed) continue;
      TF_RETURN_IF_ERROR(CheckTakes(*slot->second, tensor, streamed));
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
      const std::span<Reading> batch = rest.first(count);
      TF_RETURN_IF_ERROR(ReadBatch(batch));
      rest = rest.subspan(count);
      read_bytes += bytes;
      // The rest of the file is its header and index, and what is streamed.
      TF_RETURN_IF_ERROR(
          after_batch(batch, rest.empty() ? bytes + file_.size_bytes() - read_bytes : bytes));
    }
    return OkStatus();
  }

  LoadReport& report() { return report_; }

 private:
  Status CheckTakes(const WeightSlot& slot, const CheckpointTensor& tensor, bool streamed) const {
    const std::string& name = tensor.stored.name;
    if (streamed && !slot.weight) {
      return BadModelDirectory(
          file_.name(),
          "a plain tensor of the graph cannot be streamed; leave text_kv out: " + name);
    }
    if (!tensor.is_packed()) return OkStatus();
    if (!slot.weight) {
      return BadModelDirectory(file_.name(),
                               "packed weight for a plain tensor of the graph: " + name);
    }
    if (!IsInOrder(tensor.header())) {
      return BadModelDirectory(file_.name(),
                               "codes that are not channels last; pack the model again: " + name);
    }
    return OkStatus();
  }

  bool StaysWhereItIsRead(const CheckpointTensor& tensor) const {
    return options_.device.is_cpu() &&
           (tensor.is_packed() || ScalarTypeOf(tensor.stored.dtype) == options_.dtype);
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
    if (!tensor.is_packed()) {
      reading.slot->SetDense(bytes.to(options_.dtype));
      return;
    }
    const PackedLayout layout = tensor.header().layout;
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
  const WeightTable& table_;
  const LoadOptions& options_;
  LoadReport report_;
};

Result<SlotsByKey> SlotsOf(const PackedCheckpoint& file, std::vector<WeightSlot>& slots) {
  std::vector<std::vector<int64_t>> shapes;
  for (const CheckpointTensor& tensor : file.tensors()) shapes.push_back(tensor.shape());
  std::vector<NamedShape> named;
  for (size_t i = 0; i < shapes.size(); ++i) {
    named.push_back({file.tensors()[i].stored.name, shapes[i]});
  }
  return FindSlots(file.name(), named, slots);
}

}  // namespace

Result<LoadReport> LoadPackedWeights(const PackedCheckpoint& file, const WeightTable& table,
                                     std::vector<WeightSlot>& slots, const LoadOptions& options,
                                     const std::function<bool(int64_t)>& progress) {
  TF_ASSIGN_OR_RETURN(const SlotsByKey by_key, SlotsOf(file, slots));
  ClearOnFailure clear_on_failure(&slots);
  PackedLoading loading(file, table, options);
  TF_RETURN_IF_ERROR(
      loading.Run(by_key, /*streamed=*/false, [&](std::span<Reading>, int64_t file_bytes) {
        return !progress || progress(file_bytes) ? OkStatus() : LoadStopped();
      }));
  clear_on_failure.Keep();
  return std::move(loading.report());
}

Status StreamWeights(const PackedCheckpoint& file, const WeightTable& table,
                     std::vector<WeightSlot>& slots, const LoadOptions& options,
                     const std::function<void(WeightSlot&)>& use) {
  TF_ASSIGN_OR_RETURN(const SlotsByKey by_key, SlotsOf(file, slots));
  LoadOptions passing = options;
  passing.weights = options.scratch;
  return PackedLoading(file, table, passing)
      .Run(by_key, /*streamed=*/true, [&](std::span<Reading> batch, int64_t) {
        const ClearBatch clear{batch};
        for (Reading& reading : batch) use(*reading.slot);
        return OkStatus();
      });
}

}  // namespace tightfit
