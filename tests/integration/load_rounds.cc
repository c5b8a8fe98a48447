// Loads a model, draws with it and unloads it, many times over, and fails when the process keeps
// growing.
//
//   load_rounds MODEL_DIR [--rounds N] [--host-cache-mib MIB] [--leak-bytes BYTES]
//
// Prints the resident set every tenth of the way. After half of the rounds it may grow by 8 MiB and
// no more: exit 1 when it does. --leak-bytes keeps so many bytes of every round, to show that this
// is noticed. Pictures must be the same in every round.
#include "server/base/clock.h"
#include "server/engine/device_executor.h"
#include "server/engine/model_registry.h"
#include "server/pipeline/sdxl_model.h"
#include "server/telemetry/device_memory.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

constexpr int64_t kMaxGrowthBytes = 8 << 20;
constexpr double kMib = 1 << 20;

struct Options {
  std::string model;
  int rounds = 200;
  int host_cache_mib = 0;
  int64_t leak_bytes = 0;
};

// One request of one picture.
class OnePicture final : public GenerationObserver {
 public:
  void OnQueued(int32_t) override {}
  void OnStarted(const GenerationParameters&) override {}
  void OnProgress(const GenerationProgress&) override {}
  void OnImage(Image image) override { image_ = std::move(image); }
  void OnFinished(const Status& status, const GenerationTimings&) override {
    end_.set_value(status);
  }
  Result<std::vector<uint8_t>> Wait() {
    TF_RETURN_IF_ERROR(end_.get_future().get());
    return std::move(image_.rgb);
  }

 private:
  Image image_;
  std::promise<Status> end_;
};

template <typename Call>
Status Wait(const Call& call) {
  auto end = std::make_shared<std::promise<Status>>();
  call([end](const Status& status) { end->set_value(status); });
  return end->get_future().get();
}

Result<std::vector<uint8_t>> Draw(DeviceExecutor& executor, int side_px) {
  GenerationParameters parameters;
  parameters.model = "m";
  parameters.prompt = "a red apple";
  parameters.width_px = parameters.height_px = side_px;
  parameters.step_count = 2;
  parameters.guidance_scale = 5.0f;
  parameters.sampler = "euler";
  parameters.seed = 1;
  auto picture = std::make_shared<OnePicture>();
  TF_RETURN_IF_ERROR(
      executor.Submit(std::move(parameters), picture, std::make_shared<Cancellation>()));
  return picture->Wait();
}

Status Run(const Options& options) {
  InitTorchProcess(/*thread_count=*/2, int64_t{options.host_cache_mib} << 20);
  ModelRegistry registry({{.name = "m", .path = options.model, .format = "hf8"}});
  DeviceExecutor executor(
      &registry,
      [](const ModelSpec& spec, const auto& progress) {
        return LoadSdxlModel(spec, "cpu", progress);
      },
      {.thread_init = InitTorchThread,
       .describe = [](const ModelSpec& spec) { return DescribeSdxlModel(spec, "cpu"); },
       .drop_caches = DropTorchCaches},
      &Clock::Real(), nullptr);
  std::promise<void> ready;
  executor.Start([&ready] { ready.set_value(); });
  ready.get_future().wait();

  std::vector<uint8_t> first;
  std::vector<std::unique_ptr<char[]>> leaked;
  int64_t half_way_bytes = 0;
  int64_t largest_bytes = 0;
  for (int round = 1; round <= options.rounds; ++round) {
    TF_RETURN_IF_ERROR(Wait([&](auto done) { executor.Load("m", std::move(done)); }));
    const int side_px = 8 * registry.Find("m")->description->pixels_per_latent;
    TF_ASSIGN_OR_RETURN(std::vector<uint8_t> picture, Draw(executor, side_px));
    TF_RETURN_IF_ERROR(Wait([&](auto done) { executor.Unload("m", false, std::move(done)); }));
    if (round == 1) first = picture;
    if (picture != first) return Internal("round " + std::to_string(round) + " drew otherwise");
    if (options.leak_bytes > 0) {
      leaked.push_back(std::make_unique<char[]>(static_cast<size_t>(options.leak_bytes)));
      std::memset(leaked.back().get(), round, static_cast<size_t>(options.leak_bytes));
    }
    const int64_t used_bytes = ReadCpuMemory().used_bytes;
    if (round == options.rounds / 2) half_way_bytes = used_bytes;
    if (half_way_bytes > 0) largest_bytes = std::max(largest_bytes, used_bytes);
    if (round % std::max(options.rounds / 10, 1) == 0) {
      std::printf("round %d: %.1f MiB\n", round, static_cast<double>(used_bytes) / kMib);
      std::fflush(stdout);
    }
  }
  const int64_t growth_bytes = largest_bytes - half_way_bytes;
  std::printf("growth over the second half: %.2f MiB\n", static_cast<double>(growth_bytes) / kMib);
  return growth_bytes <= kMaxGrowthBytes ? OkStatus() : Internal("the process keeps growing");
}

}  // namespace
}  // namespace tightfit

int main(int argc, char** argv) {
  tightfit::Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const auto number = [&] { return i + 1 < argc ? std::atoll(argv[++i]) : 0; };
    if (argument == "--rounds") {
      options.rounds = static_cast<int>(number());
    } else if (argument == "--host-cache-mib") {
      options.host_cache_mib = static_cast<int>(number());
    } else if (argument == "--leak-bytes") {
      options.leak_bytes = number();
    } else {
      options.model = argument;
    }
  }
  if (options.model.empty() || options.rounds < 2) {
    std::fprintf(stderr,
                 "usage: load_rounds MODEL_DIR [--rounds N] [--host-cache-mib MIB] "
                 "[--leak-bytes BYTES]\n");
    return 2;
  }
  const tightfit::Status status = tightfit::Run(options);
  if (!status.ok()) std::fprintf(stderr, "load_rounds: %s\n", status.ForLog().c_str());
  return status.ok() ? 0 : 1;
}
