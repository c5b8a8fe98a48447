#include "tests/support/fake_diffusion_model.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <utility>

namespace tightfit {
namespace {

constexpr int32_t kPixelsPerLatent = 4;
constexpr int32_t kLatentChannels = 4;

class FakeSampling final : public Sampling {
 public:
  FakeSampling(GenerationParameters parameters, std::shared_ptr<FakeModelControls> controls)
      : parameters_(std::move(parameters)), controls_(std::move(controls)) {
    ++controls_->live_samplings;
  }
  ~FakeSampling() override { --controls_->live_samplings; }

  int32_t step_count() const override { return parameters_.step_count; }
  int32_t steps_done() const override { return steps_done_; }
  int32_t image_count() const override { return parameters_.image_count; }
  int32_t images_done() const override { return images_done_; }

  std::vector<PromptTokens> prompt_tokens() const override {
    const auto count = static_cast<int32_t>(parameters_.prompt.size());
    return {{.field = "prompt",
             .token_count = count,
             .used_token_count = std::min(count, 75),
             .chunk_count = 1}};
  }

  int64_t denoised_latents() const override {
    return decoded_latents() * parameters_.image_count * (UsesGuidance(parameters_) ? 2 : 1);
  }
  int64_t decoded_latents() const override {
    return int64_t{parameters_.width_px} * parameters_.height_px /
           (kPixelsPerLatent * kPixelsPerLatent);
  }
  bool needs_fallback() const override { return needs_fallback_; }

  const GenerationParameters& parameters() const { return parameters_; }
  void FallBack() { needs_fallback_ = true; }
  void CountStep() { ++steps_done_; }
  void CountImage() { ++images_done_; }

 private:
  const GenerationParameters parameters_;
  const std::shared_ptr<FakeModelControls> controls_;
  int32_t steps_done_ = 0;
  int32_t images_done_ = 0;
  bool needs_fallback_ = false;
};

class FakeDiffusionModel final : public DiffusionModel {
 public:
  FakeDiffusionModel(ModelDescription description, std::shared_ptr<FakeModelControls> controls)
      : description_(std::move(description)), controls_(std::move(controls)) {}
  ~FakeDiffusionModel() override {
    if (controls_->on_leave) controls_->on_leave();
  }

  const ModelDescription& description() const override { return description_; }

  Result<std::unique_ptr<Sampling>> Begin(const GenerationParameters& parameters) override {
    TF_RETURN_IF_ERROR(Called("begin"));
    ++controls_->begun;
    controls_->Remember(parameters);
    return std::unique_ptr<Sampling>(std::make_unique<FakeSampling>(parameters, controls_));
  }

  Status Step(std::span<Sampling* const> batch) override {
    TF_RETURN_IF_ERROR(Called("step"));
    for (Sampling* sampling : batch) {
      static_cast<FakeSampling*>(sampling)->CountStep();
      ++controls_->steps;
    }
    return OkStatus();
  }

  Result<std::optional<Image>> DecodeNext(Sampling& sampling) override {
    TF_RETURN_IF_ERROR(Called("decode"));
    auto& fake = static_cast<FakeSampling&>(sampling);
    if (controls_->needs_fallback && !fake.needs_fallback()) {
      fake.FallBack();
      return std::optional<Image>();
    }
    const int32_t index = fake.images_done();
    fake.CountImage();
    ++controls_->decoded;
    if (fake.parameters().output == OutputKind::kLatents) {
      return std::optional<Image>(FakeLatents(fake.parameters(), index));
    }
    Image image = controls_->noisy ? FakeNoise(fake.parameters(), index)
                                   : FakeImage(fake.parameters(), index);
    image.decoded_again_in_fp32 = controls_->falls_back;
    return std::optional<Image>(std::move(image));
  }

 private:
  Status Called(const char* call) const {
    return controls_->on_call ? controls_->on_call(call) : OkStatus();
  }

  const ModelDescription description_;
  const std::shared_ptr<FakeModelControls> controls_;
};

Image BlankImage(const GenerationParameters& parameters, int32_t index) {
  Image image;
  image.index = index;
  image.seed = parameters.seed + index;
  image.width_px = parameters.width_px;
  image.height_px = parameters.height_px;
  image.rgb.resize(size_t{3} * parameters.width_px * parameters.height_px);
  return image;
}

}  // namespace

ModelDescription FakeDescription(const std::string& name) {
  ModelDescription description;
  description.name = name;
  description.family = "sdxl";
  description.hash = "0123456789";
  description.prediction_type = "epsilon";
  description.format = "hf8";
  description.scope = "linear+conv";
  description.compute_dtype = "fp32";
  description.device = "cpu";
  description.license = "Apache-2.0";
  description.default_width_px = 64;
  description.default_height_px = 64;
  description.default_step_count = 4;
  description.default_guidance_scale = 5.0f;
  description.default_sampler = "euler";
  description.default_timestep_spacing = "leading";
  description.samplers = {"euler", "euler-a"};
  description.pixels_per_latent = kPixelsPerLatent;
  description.latent_channels = kLatentChannels;
  description.max_clip_skip = 2;
  description.takes_init_image = true;
  description.vae_tiling = "auto";
  description.vae_tile_px = 512;
  for (const char* component : {"unet", "text_encoder", "text_encoder_2", "vae"}) {
    ComponentDescription& added = description.components.emplace_back();
    added.name = component;
    added.format = added.name == "unet" ? "hf8" : "fp16";
    added.parameter_count = 1000;
    added.fp16_bytes = 2000;
    added.weight_bytes = added.name == "unet" ? 1100 : 2000;
    if (added.name != "unet") continue;
    added.packed_bytes = 900;
    added.packed_parameter_count = 900;
    added.packed_module_count = 9;
    added.unpacked_modules = {{"conv_in", "excluded by the configuration"}};
  }
  description.load_seconds = 0.5;
  return description;
}

RequestCosts CostsOfRows(double row_bytes) {
  // No request has more latents: one row takes what is said of one row alone.
  constexpr double kMostLatents = 1e12;
  return {.row_bytes = row_bytes,
          .denoise_one = {.points = {{.latents = kMostLatents, .bytes = row_bytes}}},
          .denoise = {.points = {{.latents = 1, .bytes = 2 * row_bytes}}}};
}

std::unique_ptr<DiffusionModel> MakeFakeModel(const std::string& name,
                                              std::shared_ptr<FakeModelControls> controls,
                                              ModelMemory memory) {
  ModelDescription description = FakeDescription(name);
  description.memory = memory;
  if (controls->describe) controls->describe(&description);
  return std::make_unique<FakeDiffusionModel>(std::move(description), std::move(controls));
}

ModelLoader FakeLoader(std::shared_ptr<FakeModelControls> controls, std::string failing,
                       Status failure) {
  return
      [controls = std::move(controls), failing = std::move(failing), failure = std::move(failure)](
          const ModelSpec& spec,
          const LoadCallback& progress) -> Result<std::unique_ptr<DiffusionModel>> {
        if (spec.name == failing) return failure;
        if (!progress({"unet", 1100, 7100})) return LoadStopped();
        return MakeFakeModel(spec.name, controls);
      };
}

Image FakeLatents(const GenerationParameters& parameters, int32_t index) {
  Image image = BlankImage(parameters, index);
  image.rgb.clear();
  image.latents = {.channels = kLatentChannels,
                   .height = parameters.height_px / kPixelsPerLatent,
                   .width = parameters.width_px / kPixelsPerLatent,
                   .values = {}};
  image.latents.values.assign(size_t{kLatentChannels} * image.latents.height * image.latents.width,
                              static_cast<float>(image.seed));
  return image;
}

Image FakeImage(const GenerationParameters& parameters, int32_t index) {
  Image image = BlankImage(parameters, index);
  for (size_t i = 0; i < image.rgb.size(); i += 3) {
    image.rgb[i] = static_cast<uint8_t>(image.seed & 255);
    image.rgb[i + 1] = static_cast<uint8_t>(index);
    image.rgb[i + 2] = 128;
  }
  return image;
}

Image FakeNoise(const GenerationParameters& parameters, int32_t index) {
  Image image = BlankImage(parameters, index);
  std::mt19937 random(static_cast<uint32_t>(image.seed));
  for (size_t i = 0; i + sizeof(uint32_t) <= image.rgb.size(); i += sizeof(uint32_t)) {
    const auto noise = static_cast<uint32_t>(random());
    std::memcpy(&image.rgb[i], &noise, sizeof(noise));
  }
  return image;
}

}  // namespace tightfit
