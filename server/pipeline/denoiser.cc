#include "server/pipeline/denoiser.h"

#include "server/pipeline/narrow_latents.h"

namespace tightfit {

Result<at::Tensor> Denoiser::Predict(const at::Tensor& sample, float timestep,
                                     const Conditioning& conditioning) const {
  std::vector<c10::IValue> values;
  for (const std::string& name : inputs_) {
    if (name == kSampleInput) {
      values.emplace_back(sample.to(network_.dtype));
    } else if (name == kTimestepInput) {
      values.emplace_back(at::full({sample.size(0)}, timestep, sample.options()));
    } else if (const auto found = conditioning.inputs.find(name);
               found != conditioning.inputs.end()) {
      values.emplace_back(found->second);
    } else {
      return Internal("the denoiser's input " + name + " is none that a request has");
    }
  }
  const WithoutOneDnn guard(
      IsTooNarrowForOneDnn(sample, network_.device, network_.dtype, halving_count_));
  TF_ASSIGN_OR_RETURN(const std::vector<at::Tensor> outputs, network_.run(std::move(values)));
  if (outputs.size() != 1 || outputs[0].sizes() != sample.sizes()) {
    return Internal("the denoiser's graph did not give one tensor of the latents' shape");
  }
  return outputs[0].to(at::kFloat);
}

}  // namespace tightfit
