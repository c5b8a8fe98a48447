// ModelSpec: one model as the configuration asks for it. Plain data, free of LibTorch and gRPC.
#ifndef TIGHTFIT_SERVER_BASE_MODEL_SPEC_H_
#define TIGHTFIT_SERVER_BASE_MODEL_SPEC_H_

#include <cstdint>
#include <string>
#include <vector>

namespace tightfit {

// Values of ModelSpec::text_kv.
inline constexpr char kTextKvInStep[] = "step";
inline constexpr char kTextKvOnce[] = "request";
inline constexpr char kTextKvStreamed[] = "streamed";

// What the configuration says of one model.
struct ModelSpec {
  std::string name;
  std::string path;  // the model directory
  // "auto", "fp16" = unpacked, a name of kernels/format.h, or one for each component
  // (base/component_formats.h).
  std::string format = "auto";
  std::string scope = "linear+conv";  // "attention", "linear", "linear+conv"
  // All weights take at most so many MiB: each layer of the UNet gets a format of its own; 0: no.
  double budget_mib = 0;
  std::string compute_dtype = "auto";  // "auto", "fp16", "bf16", "fp32"
  std::vector<std::string> exclude;    // module name prefixes that stay unpacked
  std::string vae;                     // weights to decode with; "": the model directory's own
  std::string vae_tiling = "auto";     // "auto", "always", "never"
  // When keys and values of prompts are computed: in every step, once a request, or once a request
  // from weights that are not on the device.
  std::string text_kv = kTextKvOnce;
  int32_t vae_tile_px = 0;         // side of a tile; 0: the model's own
  bool share_weights = true;       // with models of equal content
  bool preload = false;            // resident from the start, not from the first request on
  bool pinned = false;             // never evicted
  int32_t keep_alive_seconds = 0;  // evicted when unused for so long; 0: never for that
  int32_t priority = 0;            // of those that may go, lower ones go first
};
inline constexpr int32_t kMaxPriority = 1000;  // and -kMaxPriority the least

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_BASE_MODEL_SPEC_H_
