// Fuzz target: model.json, and the texts and pickles of TorchScript archives. A manifest that is
// accepted names files within its directory only and holds every limit that it is documented with.
#include "server/model/graph_source_scan.h"
#include "server/model/model_directory.h"
#include "server/model/model_manifest.h"
#include "tests/fuzz/require.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

namespace tightfit {
namespace {

void CheckFile(const ListedFile& file) {
  Require(!file.file.empty() && file.file.front() != '/' && file.file.size() <= 255);
  Require(("/" + file.file + "/").find("/../") == std::string::npos);
  Require(std::ranges::all_of(file.file, [](char c) { return c > ' ' && c <= '~'; }));
  Require(file.bytes >= 0 && file.bytes <= int64_t{1} << 40);
  Require(file.sha256.size() == 64);
}

void CheckMessage(const Status& status) {
  Require(!status.reason().empty() && !status.message().empty());
  Require(status.message().size() <= 400);
  Require(std::ranges::all_of(status.message(), [](char c) { return c >= ' ' && c <= '~'; }));
}

void ReadManifest(std::string_view text) {
  const Result<ModelDirectory> model = ParseManifest(text);
  if (!model.ok()) return CheckMessage(model.status());
  Require(model->components.size() == 4 && model->tokenizers.size() == 2);
  for (const auto& [name, component] : model->components) {
    CheckFile(component.weights);
    Require(!component.graphs.empty());
    for (const auto& [dtype, graph] : component.graphs) CheckFile(graph);
  }
  for (const auto& [name, files] : model->tokenizers) {
    for (const auto& [key, file] : files) CheckFile(file);
  }
  Require(model->default_width_px % model->pixels_per_latent == 0);
  Require(std::isfinite(model->vae_scaling_factor) && model->vae_scaling_factor > 0.0);
  Require(model->scheduler.num_train_timesteps > 0);
}

}  // namespace
}  // namespace tightfit

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tightfit;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  ReadManifest(bytes);
  for (const Status& status : {ScanGraphSource("unet.ts", bytes), ScanPickle("unet.ts", bytes)}) {
    if (!status.ok()) CheckMessage(status);
  }
  return 0;
}
