// A model.json with nothing wrong in it, for tests to spoil.
#ifndef TIGHTFIT_TESTS_UNIT_MODEL_GOOD_MANIFEST_H_
#define TIGHTFIT_TESTS_UNIT_MODEL_GOOD_MANIFEST_H_

#include "server/model/sha256.h"

#include <nlohmann/json.hpp>

#include <string>

namespace tightfit {

inline constexpr char kDigest[] =
    "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

inline nlohmann::json ListedJson(const std::string& name) {
  return {{"file", name}, {"bytes", 10}, {"sha256", kDigest}};
}

// A model.json that lists files of 10 bytes each.
inline nlohmann::json GoodManifest() {
  nlohmann::json json = nlohmann::json::parse(R"({
    "schema_version": 3, "name": "small", "family": "sdxl", "license": "CC0-1.0",
    "attribution": "nobody", "prediction_type": "epsilon",
    "scheduler": {"_class_name": "EulerDiscreteScheduler", "beta_start": 0.001, "beta_end": 0.02,
                  "beta_schedule": "linear", "timestep_spacing": "trailing", "steps_offset": 0,
                  "num_train_timesteps": 500, "sigma_max": null, "use_karras_sigmas": false},
    "vae": {"scaling_factor": 0.25, "shift_factor": null, "force_upcast": true,
            "latent_channels": 4, "sample_size_px": 128},
    "pixels_per_latent": 4, "force_zeros_for_empty_prompt": false,
    "defaults": {"width_px": 64, "height_px": 96, "step_count": 25, "guidance_scale": 5.0,
                 "sampler": "euler"},
    "text": {"max_length": 77, "embedding_size": 160, "pooled_size": 96, "max_clip_skip": 2,
             "encoders": [{"component": "text_encoder", "tokenizer": "tokenizer"},
                          {"component": "text_encoder_2", "tokenizer": "tokenizer_2"}]},
    "time_ids": ["original_height", "original_width", "crop_top", "crop_left", "target_height",
                 "target_width"]})");
  std::string lines;
  for (const std::string name : {"unet", "text_encoder", "text_encoder_2", "vae"}) {
    json["components"][name] = {{"inputs", {"a", "b"}},
                                {"outputs", {"c"}},
                                {"parameter_count", 12},
                                {"graphs", {{"fp32", ListedJson(name + ".fp32.ts")}}},
                                {"weights", ListedJson(name + ".safetensors")}};
    lines += name + " " + kDigest + "\n";
  }
  json["hash"] = Sha256::HexDigestOf(lines);
  for (const std::string name : {"tokenizer", "tokenizer_2"}) {
    json["tokenizers"][name] = {{"vocab.json", ListedJson(name + "/vocab.json")},
                                {"merges.txt", ListedJson(name + "/merges.txt")}};
  }
  return json;
}

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_UNIT_MODEL_GOOD_MANIFEST_H_
