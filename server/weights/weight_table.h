// WeightTable: how every tensor of one component is held, decided once from the weight file's
// header and the manifest: for estimates and for loads alike. Free of LibTorch.
//
//   const WeightTable table(file.tensors(), layers, packing);
//   table.Estimate(dtype_bytes, block_bytes)   // before the load
//   LoadWeights(file, sha256, table, ...)      // the load does what the table says
//
// What only the values tell (a NaN, a value beyond the format) or only the graph (a module whose
// code two names share) can leave a weight unpacked all the same; the load says so.
#ifndef TIGHTFIT_SERVER_WEIGHTS_WEIGHT_TABLE_H_
#define TIGHTFIT_SERVER_WEIGHTS_WEIGHT_TABLE_H_

#include "kernels/format.h"
#include "server/model/model_directory.h"
#include "server/model/safetensors.h"
#include "server/weights/packed_checkpoint.h"
#include "server/weights/packing_scope.h"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tightfit {

// Whether a UNet's module multiplies the prompt and nothing else, by diffusers' names:
// "....attn2.to_k", "....attn2.to_v".
bool MultipliesText(std::string_view module);

// "down_blocks.0.conv1" of "down_blocks.0.conv1.weight"; "" of a name without a dot.
std::string_view ModuleOf(std::string_view tensor);

// What a tensor takes in this format at most: with the longest side list that there can be.
int64_t LargestPackedBytes(WeightFormat format, const StoredTensor& tensor);

// What kind of layer a tensor is the weight of. `layers`: what the exporter recorded; where it
// recorded nothing (directories of older exporters), names and shapes tell: matrices are Linear
// unless their module is an embedding, tensors of four dimensions are Conv2d.
LayerKind KindOf(const StoredTensor& tensor, const LayerKinds& layers);

// By the name of the module; absent: dense.
using FormatsByModule = std::map<std::string, std::optional<WeightFormat>, std::less<>>;

// How one component's weights are to be packed.
struct ComponentPacking {
  std::optional<WeightFormat> format;  // absent: nothing is packed but by formats_by_module
  PackingScope scope;
  // Of modules in the scope that have formats of their own.
  FormatsByModule formats_by_module;

  // Layers that multiply text alone (MultipliesText) are left in their file. Of packed checkpoints.
  bool streams_text = false;

  bool packs() const { return format.has_value() || !formats_by_module.empty(); }
};

// One tensor of the weight file and how it is held.
struct WeightEntry {
  // Of a packed checkpoint: shape and elements of the dense weight, bytes of its codes.
  StoredTensor tensor;
  LayerKind kind = LayerKind::kOther;
  std::optional<WeightFormat> format;  // packed so; absent: dense, in the compute dtype
  // Of a weight that is packed in its file.
  std::optional<PackedHeader> header;
  // Of a weight that the scope takes and that stays dense: why.
  std::string why_dense;
  // Not held at all: read from its file for each request.
  bool is_streamed = false;
};

struct WeightEstimate {
  int64_t weight_bytes = 0;   // of all tensors as they are held
  int64_t staging_bytes = 0;  // of the host, beside them while they are converted
  // Of a device that packs by itself: the largest weight in fp16, and what searching its scales
  // takes.
  int64_t device_staging_bytes = 0;
  int64_t decoded_bytes = 0;  // of the largest packed weight, once decoded for a product
};

// Immutable; thread-safe.
class WeightTable {
 public:
  WeightTable(const std::vector<StoredTensor>& tensors, const LayerKinds& layers,
              const ComponentPacking& packing);
  // Of a packed checkpoint, exactly.
  WeightTable(const std::vector<CheckpointTensor>& tensors, const LayerKinds& layers,
              bool streams_text = false);

  // In file order.
  const std::vector<WeightEntry>& entries() const { return entries_; }

  // An upper bound, with the longest side lists there can be; but a weight whose values turn out
  // not to fit the format stays as it is and takes more. `block_bytes`: what the device's allocator
  // gives is a multiple of it.
  WeightEstimate Estimate(int64_t dtype_bytes, int64_t block_bytes) const;

 private:
  bool is_checkpoint_ = false;
  std::vector<WeightEntry> entries_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_WEIGHT_TABLE_H_
