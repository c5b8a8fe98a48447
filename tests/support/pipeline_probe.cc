// pipeline_probe JOBS.json SUMMARY.json [DEVICE]: runs the pipeline without a server, on the CPU
// unless told otherwise, and writes what tests compare with diffusers: raw latents, pixels,
// descriptions, bytes of every account.
//
// JOBS.json is a list of {"model": {"path", "format", "scope", "compute_dtype"}, "output": PREFIX,
// "prompt", ...}; tests/python/parity/probe.py writes it. A model stays loaded until a job asks for
// another one. PREFIX.latents.npy is fp32 [images, channels, h, w], PREFIX.pixels.npy uint8
// [images, height, width, 3].
#include "server/device/open_device.h"
#include "server/memory/memory_accounts.h"
#include "server/pipeline/device_runtime.h"
#include "server/pipeline/diffusion_sampling.h"
#include "server/pipeline/model_loader.h"

#include <nlohmann/json.hpp>

#include <cstdio>
#include <fstream>
#include <memory>
#include <optional>
#include <string>

namespace tightfit {
namespace {

using Json = nlohmann::json;

Json ToJson(const Status& status) {
  return {{"ok", status.ok()},
          {"code", static_cast<int>(status.code())},
          {"reason", status.reason()},
          {"message", status.message()},
          {"detail", status.detail()}};
}

Json ToJson(const ModelDescription& description) {
  Json components = Json::object();
  for (const ComponentDescription& component : description.components) {
    Json unpacked = Json::array();
    for (const UnpackedModule& module : component.unpacked_modules) {
      unpacked.push_back({{"module", module.module}, {"reason", module.reason}});
    }
    components[component.name] = {{"format", component.format},
                                  {"parameter_count", component.parameter_count},
                                  {"fp16_bytes", component.fp16_bytes},
                                  {"weight_bytes", component.weight_bytes},
                                  {"packed_bytes", component.packed_bytes},
                                  {"packed_parameter_count", component.packed_parameter_count},
                                  {"packed_module_count", component.packed_module_count},
                                  {"unpacked_modules", unpacked}};
  }
  return {{"hash", description.hash},         {"compute_dtype", description.compute_dtype},
          {"device", description.device},     {"pixels_per_latent", description.pixels_per_latent},
          {"samplers", description.samplers}, {"components", components}};
}

// Of the model itself and of its weights, which models of equal content would share.
Json AccountsOf(const std::string& model, const ModelDescription* description) {
  std::vector<MemoryUse> uses = MemoryAccounts::Instance().Snapshot(model);
  if (description != nullptr) {
    for (const WeightGroup& group : description->memory.weights) {
      for (MemoryUse& use : MemoryAccounts::Instance().Snapshot(group.content_key)) {
        uses.push_back(std::move(use));
      }
    }
  }
  Json accounts = Json::array();
  for (const MemoryUse& use : uses) {
    accounts.push_back({{"component", use.component},
                        {"purpose", MemoryPurposeName(use.purpose)},
                        {"current_bytes", use.current_bytes},
                        {"peak_bytes", use.peak_bytes}});
  }
  return accounts;
}

std::optional<std::string> OptionalText(const Json& job, const char* key) {
  const auto found = job.find(key);
  if (found == job.end() || found->is_null()) return std::nullopt;
  return found->get<std::string>();
}

std::optional<GenerationParameters::SizePx> OptionalSize(const Json& job, const char* key) {
  const auto found = job.find(key);
  if (found == job.end() || found->is_null()) return std::nullopt;
  return GenerationParameters::SizePx{.height_px = found->at(0), .width_px = found->at(1)};
}

// From a file of fp32 [images, channels, h, w].
std::vector<Latents> InitialLatents(const Json& job, const ModelDescription& description) {
  std::vector<Latents> images;
  const std::optional<std::string> path = OptionalText(job, "initial_latents");
  if (!path.has_value()) return images;
  const int32_t multiple = description.pixels_per_latent;
  std::ifstream file(*path, std::ios::binary);
  for (int i = 0; i < job.at("image_count").get<int>(); ++i) {
    Latents latents{.channels = description.latent_channels,
                    .height = job.at("height_px").get<int32_t>() / multiple,
                    .width = job.at("width_px").get<int32_t>() / multiple,
                    .values = {}};
    latents.values.resize(size_t{1} * latents.channels * latents.height * latents.width);
    file.read(reinterpret_cast<char*>(latents.values.data()),
              static_cast<std::streamsize>(latents.values.size() * sizeof(float)));
    images.push_back(std::move(latents));
  }
  return images;
}

// From a file of that many bytes a pixel; empty where the job names none.
std::vector<uint8_t> PixelsOf(const Json& job, const char* key, size_t bytes_per_pixel) {
  const std::optional<std::string> path = OptionalText(job, key);
  if (!path.has_value()) return {};
  std::vector<uint8_t> bytes(bytes_per_pixel * job.at("width_px").get<size_t>() *
                             job.at("height_px").get<size_t>());
  std::ifstream(*path, std::ios::binary)
      .read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  return bytes;
}

std::shared_ptr<const RgbImage> InitImage(const Json& job) {
  RgbImage image{.width_px = job.at("width_px"),
                 .height_px = job.at("height_px"),
                 .rgb = PixelsOf(job, "init_image", 3)};
  return image.rgb.empty() ? nullptr : std::make_shared<const RgbImage>(std::move(image));
}

std::shared_ptr<const ImageMask> Mask(const Json& job) {
  ImageMask mask{.width_px = job.at("width_px"),
                 .height_px = job.at("height_px"),
                 .drawn = PixelsOf(job, "mask", 1)};
  return mask.drawn.empty() ? nullptr : std::make_shared<const ImageMask>(std::move(mask));
}

GenerationParameters ParametersOf(const Json& job, const ModelDescription& description) {
  return {.prompt = job.at("prompt"),
          .prompt_2 = OptionalText(job, "prompt_2"),
          .negative_prompt = OptionalText(job, "negative_prompt"),
          .negative_prompt_2 = OptionalText(job, "negative_prompt_2"),
          .width_px = job.at("width_px"),
          .height_px = job.at("height_px"),
          .step_count = job.at("step_count"),
          .guidance_scale = job.at("guidance_scale"),
          .guidance_rescale = job.value("guidance_rescale", 0.0f),
          .embeds_guidance = description.embeds_guidance,
          .sampler = job.at("sampler"),
          .seed = job.at("seed"),
          .image_count = job.at("image_count"),
          .prompt_syntax = job.value("prompt_syntax", "plain") == "plain" ? PromptSyntax::kPlain
                                                                          : PromptSyntax::kWeighted,
          .clip_skip = job.value("clip_skip", 0),
          .timestep_spacing = OptionalText(job, "timestep_spacing").value_or(""),
          .comma_backtrack_tokens = job.value("comma_backtrack_tokens", 20),
          .denoising_start = job.value("denoising_start", 0.0f),
          .denoising_end = job.value("denoising_end", 1.0f),
          .initial_latents = InitialLatents(job, description),
          .init_image = InitImage(job),
          .mask = Mask(job),
          .strength = job.value("strength", 1.0),
          .keep_unmasked_pixels = job.value("keep_unmasked_pixels", true),
          .original_size = OptionalSize(job, "original_size"),
          .target_size = OptionalSize(job, "target_size"),
          .crop_top_left = OptionalSize(job, "crop_top_left")};
}

// NumPy's format 1.0: a magic, the header's length, a header padded so that the data is 64-byte
// aligned.
void WriteNpy(const std::string& path, const at::Tensor& tensor, const char* dtype) {
  std::string shape;
  for (const int64_t size : tensor.sizes()) shape += std::to_string(size) + ", ";
  std::string header =
      std::string("{'descr': '") + dtype + "', 'fortran_order': False, 'shape': (" + shape + "), }";
  header.append(63 - (10 + header.size()) % 64, ' ');
  header += '\n';
  const auto length = static_cast<uint16_t>(header.size());
  std::ofstream file(path, std::ios::binary);
  file << "\x93NUMPY" << '\x01' << '\0' << static_cast<char>(length & 0xff)
       << static_cast<char>(length >> 8) << header;
  const at::Tensor data = tensor.contiguous();
  file.write(static_cast<const char*>(data.const_data_ptr()),
             static_cast<std::streamsize>(data.nbytes()));
}

Status RunJob(DiffusionModel& model, const Json& job) {
  TF_ASSIGN_OR_RETURN(std::unique_ptr<Sampling> sampling,
                      model.Begin(ParametersOf(job, model.description())));
  Sampling* const member = sampling.get();
  while (sampling->steps_done() < sampling->step_count()) {
    TF_RETURN_IF_ERROR(model.Step(std::span(&member, 1)));
  }
  std::vector<at::Tensor> images;
  while (sampling->images_done() < sampling->image_count()) {
    TF_ASSIGN_OR_RETURN(std::optional<Image> image, model.DecodeNext(*sampling));
    if (!image.has_value()) continue;
    images.push_back(at::empty({image->height_px, image->width_px, 3}, at::kByte));
    std::copy(image->rgb.begin(), image->rgb.end(), images.back().data_ptr<uint8_t>());
  }
  const std::string prefix = job.at("output");
  WriteNpy(prefix + ".latents.npy", static_cast<DiffusionSampling&>(*sampling).latents().cpu(),
           "<f4");
  WriteNpy(prefix + ".pixels.npy", at::stack(images), "|u1");
  return OkStatus();
}

// Keeps one model and what its loading took.
class ProbedModel {
 public:
  explicit ProbedModel(DeviceRuntime* runtime) : runtime_(runtime) {}

  Status Use(const Json& model) {
    if (model_ != nullptr && model == key_) return OkStatus();
    Unload();
    key_ = model;
    ++loads_;
    const ModelSpec spec{.name = model_name(),
                         .path = model.at("path"),
                         .format = model.at("format"),
                         .scope = model.at("scope"),
                         .compute_dtype = model.value("compute_dtype", "auto"),
                         .exclude = model.value("exclude", std::vector<std::string>()),
                         .vae = model.value("vae", ""),
                         .vae_tiling = model.value("vae_tiling", "never"),
                         .vae_tile_px = model.value("vae_tile_px", 0)};
    MemoryAccounts& accounts = MemoryAccounts::Instance();
    bytes_before_ = accounts.total_bytes();
    accounts.ResetTotalPeak();
    LoadProgress last;
    auto loaded = LoadDiffusionModel(*runtime_, spec, [&last](const LoadProgress& progress) {
      last = progress;
      return true;
    });
    Json summary = {
        {"model", model},
        {"status", ToJson(loaded.status())},
        {"bytes_while_loaded", accounts.total_bytes() - bytes_before_},
        {"peak_bytes_of_load", accounts.total_peak_bytes() - bytes_before_},
        {"progress_bytes", {last.bytes_done, last.bytes_total}},
        {"accounts", AccountsOf(spec.name, loaded.ok() ? &(*loaded)->description() : nullptr)}};
    if (loaded.ok()) {
      model_ = std::move(*loaded);
      summary["description"] = ToJson(model_->description());
    }
    summaries_.push_back(std::move(summary));
    return loaded.status();
  }

  void Unload() {
    if (model_ == nullptr) return;
    model_.reset();
    summaries_.back()["bytes_after_unload"] =
        MemoryAccounts::Instance().total_bytes() - bytes_before_;
  }

  DiffusionModel& model() { return *model_; }
  const ModelDescription* description() const {
    return model_ != nullptr ? &model_->description() : nullptr;
  }
  std::string model_name() const { return "model-" + std::to_string(loads_); }
  const Json& summaries() const { return summaries_; }

 private:
  DeviceRuntime* const runtime_;
  Json key_;
  std::unique_ptr<DiffusionModel> model_;
  int64_t bytes_before_ = 0;
  int loads_ = 0;
  Json summaries_ = Json::array();
};

int Main(const char* jobs_path, const char* summary_path, const char* device_name) {
  const Result<OpenedDevice> device = OpenDevice(device_name);
  if (!device.ok()) {
    std::fprintf(stderr, "%s\n", device.status().ForLog().c_str());
    return 1;
  }
  DeviceRuntime runtime(device->name, 0, 0);
  runtime.LeaveCostsOut();
  runtime.InitThread();
  ProbedModel probed(&runtime);
  Json jobs = Json::array();
  for (const Json& job : Json::parse(std::ifstream(jobs_path))) {
    Status status = probed.Use(job.at("model"));
    if (status.ok()) status = RunJob(probed.model(), job);
    jobs.push_back({{"output", job.at("output")},
                    {"status", ToJson(status)},
                    {"accounts", AccountsOf(probed.model_name(), probed.description())}});
  }
  probed.Unload();
  std::ofstream(summary_path) << Json{{"jobs", jobs}, {"models", probed.summaries()}}.dump(1);
  return 0;
}

}  // namespace
}  // namespace tightfit

int main(int argc, char** argv) {
  if (argc != 3 && argc != 4) {
    std::fprintf(stderr, "usage: pipeline_probe JOBS.json SUMMARY.json [DEVICE]\n");
    return 64;
  }
  return tightfit::Main(argv[1], argv[2], argc == 4 ? argv[3] : "cpu");
}
