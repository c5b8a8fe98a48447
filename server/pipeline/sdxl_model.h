// LoadSdxlModel: a model directory becomes a resident DiffusionModel.
#ifndef TIGHTFIT_SERVER_PIPELINE_SDXL_MODEL_H_
#define TIGHTFIT_SERVER_PIPELINE_SDXL_MODEL_H_

#include "server/base/status.h"
#include "server/engine/diffusion_model.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace tightfit {

// Reads, checks, packs. Runs on the thread that will call the model. `device` is one that
// OpenDevice (model/compute_device.h) has named. Errors: DATA_LOSS `CHECKSUM_MISMATCH`,
// INVALID_ARGUMENT `FORBIDDEN_OPERATOR`, `BAD_MODEL_DIRECTORY`, ..., each naming the file, never
// its path; LoadStopped.
Result<std::unique_ptr<DiffusionModel>> LoadSdxlModel(const ModelSpec& spec,
                                                      const std::string& device,
                                                      const LoadCallback& progress);

// As ModelDescriber. Reads model.json and the headers of the weight files: no device work, a few
// milliseconds. Errors: those of LoadSdxlModel that come before the first weight.
Result<ModelDescription> DescribeSdxlModel(const ModelSpec& spec, const std::string& device);

// The latents of a request of such a model, fp32, the images one after the other: the noise, scaled
// for the first step, right after Begin; then what each step made of it.
std::vector<float> LatentsOf(const Sampling& sampling);

// Settings of LibTorch that are local to a thread; once per thread that calls a model on `device`.
void InitTorchThread(const std::string& device);
// The thread calls no model any more: what leaves the device from now on is not kept in host
// memory.
void ExitTorchThread();
// Gives back what this thread keeps for the next call.
void DropTorchCaches();
// Settings of the process, before any tensor exists: whose memory is counted, intra-op threads
// (0: all cores), and how many bytes of weights may stay in host memory when models leave.
void InitTorchProcess(const std::string& device, int thread_count, int64_t host_cache_bytes);
// "2.11.0"
std::string LibTorchVersion();

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_SDXL_MODEL_H_
