// Samplers: how latents move from one noise level to the next. A new sampler is one file in
// samplers/ and one row of the table in samplers.cc.
#ifndef TIGHTFIT_SERVER_PIPELINE_SAMPLERS_H_
#define TIGHTFIT_SERVER_PIPELINE_SAMPLERS_H_

#include "server/base/status.h"
#include "server/model/model_directory.h"
#include "server/pipeline/latent_noise.h"

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tightfit {

// Belongs to one request. Latents and the UNet's outputs are fp32 [images, channels, height,
// width]; `call` counts the UNet calls from 0.
class Sampler {
 public:
  virtual ~Sampler() = default;

  // UNet calls from first to last.
  virtual int32_t call_count() const = 0;
  // UNet calls of one step; the last may take one less. pndm takes one call more than steps.
  virtual int32_t calls_per_step() const { return 1; }
  // What the UNet is told at `call`.
  virtual float timestep(int32_t call) const = 0;
  // Where `call` stands when a part of the denoising is asked for; the same for all calls of a step
  // that must not be parted.
  virtual float step_timestep(int32_t call) const { return timestep(call); }
  // The first latents are the first noise times this.
  virtual float init_noise_sigma() const = 0;
  // `clean` latents with so much of `noise`, unit normal draws, as `call` begins with. A call in
  // the middle of a step of kdpm2 has the noise of the step's end, as in diffusers.
  virtual at::Tensor AddNoise(const at::Tensor& clean, const at::Tensor& noise,
                              int32_t call) const = 0;
  // What the UNet sees of `latents`.
  virtual at::Tensor ScaleModelInput(const at::Tensor& latents, int32_t call) const = 0;
  // The latents after `call`. Calls come in turn, the first of them at the begin of any step;
  // `output` is what the UNet gave, guidance applied. Stochastic samplers take their noise from
  // `noise`, in every call alike.
  virtual at::Tensor Step(const at::Tensor& output, const at::Tensor& latents, int32_t call,
                          LatentNoise& noise) = 0;
};

struct SamplerInfo {
  std::string_view name;
  // Errors: those of the noise schedule.
  Result<std::unique_ptr<Sampler>> (*make)(const SchedulerConfig& config, int32_t step_count);
};

std::span<const SamplerInfo> Samplers();
std::vector<std::string> SamplerNames();

// Errors: INVALID_ARGUMENT naming the samplers there are; those of the noise schedule.
Result<std::unique_ptr<Sampler>> MakeSampler(std::string_view name, const SchedulerConfig& config,
                                             int32_t step_count);

// The rows' factories.
Result<std::unique_ptr<Sampler>> MakeEuler(const SchedulerConfig& config, int32_t step_count);
Result<std::unique_ptr<Sampler>> MakeEulerKarras(const SchedulerConfig& config, int32_t step_count);
Result<std::unique_ptr<Sampler>> MakeEulerExponential(const SchedulerConfig& config,
                                                      int32_t step_count);
Result<std::unique_ptr<Sampler>> MakeEulerAncestral(const SchedulerConfig& config,
                                                    int32_t step_count);
Result<std::unique_ptr<Sampler>> MakeHeun(const SchedulerConfig& config, int32_t step_count);
Result<std::unique_ptr<Sampler>> MakeDdim(const SchedulerConfig& config, int32_t step_count);
Result<std::unique_ptr<Sampler>> MakeDpmSolver2M(const SchedulerConfig& config, int32_t step_count);
Result<std::unique_ptr<Sampler>> MakeDpmSolver2MKarras(const SchedulerConfig& config,
                                                       int32_t step_count);
Result<std::unique_ptr<Sampler>> MakeDpmSolver2MSdeKarras(const SchedulerConfig& config,
                                                          int32_t step_count);
Result<std::unique_ptr<Sampler>> MakeDpmSolverSde(const SchedulerConfig& config,
                                                  int32_t step_count);
Result<std::unique_ptr<Sampler>> MakeDpmSolverSdeKarras(const SchedulerConfig& config,
                                                        int32_t step_count);
Result<std::unique_ptr<Sampler>> MakeDpmSolver2SAncestral(const SchedulerConfig& config,
                                                          int32_t step_count);
Result<std::unique_ptr<Sampler>> MakeDpmSolver2SAncestralKarras(const SchedulerConfig& config,
                                                                int32_t step_count);
Result<std::unique_ptr<Sampler>> MakeDpmSolver3MSde(const SchedulerConfig& config,
                                                    int32_t step_count);
Result<std::unique_ptr<Sampler>> MakeDpmSolver3MSdeKarras(const SchedulerConfig& config,
                                                          int32_t step_count);
Result<std::unique_ptr<Sampler>> MakeDeis(const SchedulerConfig& config, int32_t step_count);
Result<std::unique_ptr<Sampler>> MakeDeisKarras(const SchedulerConfig& config, int32_t step_count);
Result<std::unique_ptr<Sampler>> MakeKdpm2(const SchedulerConfig& config, int32_t step_count);
Result<std::unique_ptr<Sampler>> MakeKdpm2Karras(const SchedulerConfig& config, int32_t step_count);
Result<std::unique_ptr<Sampler>> MakeKdpm2Ancestral(const SchedulerConfig& config,
                                                    int32_t step_count);
Result<std::unique_ptr<Sampler>> MakeKdpm2AncestralKarras(const SchedulerConfig& config,
                                                          int32_t step_count);
Result<std::unique_ptr<Sampler>> MakePndm(const SchedulerConfig& config, int32_t step_count);
Result<std::unique_ptr<Sampler>> MakeDdpm(const SchedulerConfig& config, int32_t step_count);
Result<std::unique_ptr<Sampler>> MakeUniPc(const SchedulerConfig& config, int32_t step_count);
Result<std::unique_ptr<Sampler>> MakeLcm(const SchedulerConfig& config, int32_t step_count);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_SAMPLERS_H_
