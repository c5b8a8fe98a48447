// FakeDiffusionModel: a DiffusionModel without LibTorch for tests of engine, rpc, telemetry,
// client. Images are a function of seed, index and size only, so that tests can tell them apart.
#ifndef TIGHTFIT_TESTS_SUPPORT_FAKE_DIFFUSION_MODEL_H_
#define TIGHTFIT_TESTS_SUPPORT_FAKE_DIFFUSION_MODEL_H_

#include "server/engine/diffusion_model.h"

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

namespace tightfit {

// What tests set and look at; shared with every model and sampling made from it.
struct FakeModelControls {
  // Called before each Begin / Step / DecodeNext with its name ("begin", "step", "decode"); a
  // status that is not OK is returned from the call. May block: then the executor is in a call.
  std::function<Status(const char* call)> on_call;
  std::atomic<int> begun{0};
  std::atomic<int> steps{0};
  std::atomic<int> decoded{0};
  std::atomic<int> live_samplings{0};  // made and not yet destroyed
  // Images are FakeNoise instead of FakeImage: PNG cannot compress them.
  std::atomic<bool> noisy{false};
  // Images say that they were decoded again in fp32.
  std::atomic<bool> falls_back{false};
  // The first decode of a request gives no image, but says that the VAE in fp32 is needed.
  std::atomic<bool> needs_fallback{false};
  // Changes what the descriptions of models say. Set it before they are made.
  std::function<void(ModelDescription*)> describe;
  // Called when a model leaves its device. May block.
  std::function<void()> on_leave;

  // What Begin was last called with. Thread-safe.
  GenerationParameters LastBegun() const {
    const std::lock_guard lock(mutex);
    return last_begun;
  }
  void Remember(const GenerationParameters& parameters) {
    const std::lock_guard lock(mutex);
    last_begun = parameters;
  }

  mutable std::mutex mutex;
  GenerationParameters last_begun;  // guarded by mutex
};

// A resident description with sensible values: 64x64 px, 4 pixels per latent, 4 steps, guidance 5,
// samplers euler and euler-a, leading timesteps, clip skip up to 2, images to draw over, tiles of
// 512 px, hf8 linear+conv, four components.
// Every byte of a prompt is a token, of which 75 are used.
ModelDescription FakeDescription(const std::string& name);

// Requests take so much for each row, whatever its size.
RequestCosts CostsOfRows(double row_bytes);

// `memory`: what its description tells of it.
std::unique_ptr<DiffusionModel> MakeFakeModel(const std::string& name,
                                              std::shared_ptr<FakeModelControls> controls,
                                              ModelMemory memory = {});

// A loader that gives a fake model for every spec, or `failure` for specs named in `failing`.
ModelLoader FakeLoader(std::shared_ptr<FakeModelControls> controls, std::string failing = {},
                       Status failure = {});

// The colour that every pixel of a fake image has: {(seed + index) & 255, index, 128}.
Image FakeImage(const GenerationParameters& parameters, int32_t index);
// Latents that are seed + index everywhere.
Image FakeLatents(const GenerationParameters& parameters, int32_t index);
// Pseudo-random pixels, the same for the same seed + index.
Image FakeNoise(const GenerationParameters& parameters, int32_t index);

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_SUPPORT_FAKE_DIFFUSION_MODEL_H_
