// Component: one graph of a pipeline with its weights set, ready to run.
#ifndef TIGHTFIT_SERVER_WEIGHTS_COMPONENT_H_
#define TIGHTFIT_SERVER_WEIGHTS_COMPONENT_H_

#include "server/base/status.h"
#include "server/engine/diffusion_model.h"
#include "server/memory/memory_accounts.h"
#include "server/model/model_directory.h"
#include "server/weights/kept_products.h"
#include "server/weights/weight_loader.h"
#include "server/weights/weight_slot.h"
#include "server/weights/weight_source.h"

#include <torch/script.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace tightfit {

// How one component is to be held.
struct ComponentOptions {
  std::string owner;            // of the memory accounts: a model, or a content
  std::string component;        // "unet", "text_encoder", "text_encoder_2", "vae", "vae_encoder"
  std::string format = "fp16";  // "fp16": every weight in `dtype`; else a name of kernels/format.h
  PackingScope scope;
  // Of modules in the scope that have formats of their own; then `format` is "fp16".
  FormatsByModule formats_by_module;
  // Weights that multiply the prompt alone stay in their packed checkpoint (KeepTextProducts).
  bool streams_text = false;
  at::ScalarType dtype = at::kFloat;  // of graph and activations: kFloat, kBFloat16, kHalf
  at::Device device = at::kCPU;
  // A safetensors file with the graph's keys, and maybe others, to take the weights from instead of
  // the directory's; "": the directory's.
  std::string weights_path;
  // The only model whose content this may be; "": models of equal content share it.
  std::string exclusive_to;
};

ComponentPacking PackingOf(const ComponentOptions& options);

// The same for components that hold the same graph and tensors in the same way, and for no others:
// "unet-0123456789abcdef". Errors: BAD_MODEL_DIRECTORY where the directory has no such component.
Result<std::string> ContentKeyOf(const ModelDirectory& directory, const ComponentOptions& options);

// Reads and hashes the files that Component::Load would read, and keeps nothing: for a component of
// the same content that is there already. Errors: DATA_LOSS, as ReadListedFile.
Status CheckFiles(const ModelDirectory& directory, const ComponentOptions& options,
                  const std::function<bool(int64_t)>& progress);

// Not thread-safe; one thread loads and runs it.
class Component {
 public:
  // Checks the graph file (hash, operator allow-list), loads and rewrites it once, streams the
  // weights into their slots, each packed as it arrives. High-water mark: packed bytes + two
  // staging buffers + graph. `progress` gets bytes read since the last call, and stops the load by
  // returning false. Errors: DATA_LOSS, FAILED_PRECONDITION `BAD_MODEL_DIRECTORY`,
  // `FORBIDDEN_OPERATOR`, LoadStopped; nothing of a failed load stays allocated.
  static Result<std::unique_ptr<Component>> Load(const ModelDirectory& directory,
                                                 const ComponentOptions& options,
                                                 const std::function<bool(int64_t)>& progress);

  // Sets the weights again after ClearWeights, from a directory of the same content. Errors:
  // Load's; then there are none, as before.
  Status ReadWeights(const ModelDirectory& directory, const std::function<bool(int64_t)>& progress);
  // Frees the weights. The graph stays, ready to be filled: what it took to read, check and rewrite
  // it is not done again.
  void ClearWeights();
  bool has_weights() const { return has_weights_; }
  // Copies the weights, packed as they are, to memory of the host or back to the component's
  // device, and frees what they took before. Bytes of the copies. Errors: RunTorch's; then they are
  // where they were. For a device whose memory is not the host's.
  Result<int64_t> MoveWeightsToHost();
  Result<int64_t> MoveWeightsToDevice();

  // Calls forward, with weights. One tensor or a tuple of tensors comes back as a list. What it
  // allocates is charged to the current account. Errors as RunTorch.
  Result<std::vector<at::Tensor>> Run(std::vector<c10::IValue> inputs);

  // What the layers that multiply the prompt give for it, computed now, for the calls of one
  // request. `text`: [B, T, E] in dtype(). Streamed weights are read for it and let go. Products
  // are charged to the current account. Errors: StreamWeights', RunTorch's.
  Result<std::unique_ptr<const KeptProducts>> KeepTextProducts(const at::Tensor& text);

  // For whoever measures what one layer's weight does: swap it, run, swap it back.
  std::vector<WeightSlot>& slots() { return slots_; }

  const ComponentDescription& description() const { return description_; }
  at::ScalarType dtype() const { return options_.dtype; }
  at::Device device() const { return options_.device; }

 private:
  Component() = default;

  Result<int64_t> MoveWeights(const char* what, at::Device device);
  // May throw what LibTorch throws.
  Status Fill(std::unique_ptr<WeightSource> weights, const std::string& sha256,
              const std::function<bool(int64_t)>& progress);

  ComponentOptions options_;
  ComponentDescription description_;
  torch::jit::Module module_;
  std::vector<WeightSlot> slots_;
  std::unique_ptr<WeightSource> streamed_from_;  // where weights are streamed
  bool has_weights_ = false;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_COMPONENT_H_
