// LoadDiffusionModel: a model directory becomes a resident DiffusionModel.
#ifndef TIGHTFIT_SERVER_PIPELINE_MODEL_LOADER_H_
#define TIGHTFIT_SERVER_PIPELINE_MODEL_LOADER_H_

#include "server/base/status.h"
#include "server/engine/diffusion_model.h"
#include "server/pipeline/device_runtime.h"

#include <memory>
#include <string>
#include <vector>

namespace tightfit {

// Reads, checks, packs, on the runtime's device. Runs on the thread that will call the model, which
// must go before `runtime`. Errors: DATA_LOSS `CHECKSUM_MISMATCH`, INVALID_ARGUMENT
// `FORBIDDEN_OPERATOR`, `BAD_MODEL_DIRECTORY`, ..., each naming the file, never its path;
// LoadStopped.
Result<std::unique_ptr<DiffusionModel>> LoadDiffusionModel(DeviceRuntime& runtime,
                                                           const ModelSpec& spec,
                                                           const LoadCallback& progress);

// As ModelDescriber. Reads model.json and the headers of the weight files: no device work, a few
// milliseconds. Errors: those of LoadDiffusionModel that come before the first weight.
Result<ModelDescription> DescribeDiffusionModel(const ModelSpec& spec, const std::string& device);

// The latents of a request of such a model, fp32, the images one after the other: the noise, scaled
// for the first step, right after Begin; then what each step made of it.
std::vector<float> LatentsOf(const Sampling& sampling);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_MODEL_LOADER_H_
