// Network: one graph of the pipeline as the pipeline sees it. The model's loader binds it to a
// Component; tests bind it to a function whose answer they know.
#ifndef TIGHTFIT_SERVER_PIPELINE_NETWORK_H_
#define TIGHTFIT_SERVER_PIPELINE_NETWORK_H_

#include "server/base/status.h"
#include "server/weights/kept_products.h"

#include <ATen/core/ivalue.h>

#include <functional>
#include <memory>
#include <vector>

namespace tightfit {

struct Network {
  // Inputs and outputs as in the graph signatures of deploy/export/MODEL_DIRECTORY.md.
  std::function<Result<std::vector<at::Tensor>>(std::vector<c10::IValue> inputs)> run;
  // Of a UNet: what its layers that multiply the prompt give for it, [B, T, E] in `dtype`; may be
  // empty.
  std::function<Result<std::unique_ptr<const KeptProducts>>(const at::Tensor& text)> keep_products;
  at::ScalarType dtype =
      at::kFloat;  // of its floating-point inputs, unless the signature says fp32
  at::Device device = at::kCPU;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_NETWORK_H_
