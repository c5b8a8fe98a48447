#include "server/pipeline/families.h"

#include "server/base/is_among.h"
#include "server/model/model_errors.h"
#include "server/model/model_manifest.h"
#include "server/pipeline/conditioner.h"
#include "server/pipeline/denoiser.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace tightfit {
namespace {

using Names = std::vector<std::string_view>;

struct Family {
  std::string_view name;
  Names text_encoders;  // components, in the order of their hidden states
  Names conditions;     // inputs of the denoiser beside sample and timestep
};

const std::vector<Family>& Families() {
  static const Names kText = {kTextInput};
  static const std::vector<Family> families = {
      {"sd1", {"text_encoder"}, kText},
      {"sd2", {"text_encoder"}, kText},
      {"sdxl", {"text_encoder", "text_encoder_2"}, {kTextInput, kPooledInput, kTimeIdsInput}},
  };
  return families;
}

Status Refuse(const std::string& key, const std::string& what) {
  return BadModelDirectory(kManifestName, key + " " + what);
}

std::string Listed(const Names& names) {
  std::string text;
  for (const std::string_view name : names) text.append(text.empty() ? "" : ", ").append(name);
  return text;
}

// Whether `denoiser` takes all of `names`, each once, or none.
Status CheckInputs(const ManifestComponent& denoiser, const Names& names, bool is_needed) {
  const bool is_there = std::ranges::any_of(
      names, [&](std::string_view name) { return IsAmong(name, denoiser.inputs); });
  if (!is_there && !is_needed) return OkStatus();
  for (const std::string_view name : names) {
    if (std::ranges::count(denoiser.inputs, name) == 1) continue;
    return Refuse("components.unet.inputs", "must name " + std::string(name) + " once");
  }
  return OkStatus();
}

Status CheckDenoiser(const Family& family, const ModelDirectory& directory) {
  const Names own = {kSampleInput, kTimestepInput};
  // What denoisers of any family may take beside.
  const Names mask = {kMaskInput, kMaskedImageInput};
  const Names guidance = {kGuidanceInput};
  const ManifestComponent& denoiser = directory.components.at("unet");
  for (const std::string& input : denoiser.inputs) {
    const bool is_known =
        std::ranges::any_of(std::initializer_list<Names>{own, family.conditions, mask, guidance},
                            [&](const Names& names) { return IsAmong(input, names); });
    if (is_known) continue;
    return Refuse("components.unet.inputs",
                  "names " + input + ", which no model of its family takes");
  }
  TF_RETURN_IF_ERROR(CheckInputs(denoiser, own, true));
  TF_RETURN_IF_ERROR(CheckInputs(denoiser, family.conditions, true));
  TF_RETURN_IF_ERROR(CheckInputs(denoiser, mask, false));
  TF_RETURN_IF_ERROR(CheckInputs(denoiser, guidance, false));
  if (IsAmong(kMaskInput, denoiser.inputs) && !directory.components.contains(kVaeEncoder)) {
    return Refuse("components.unet.inputs", "names mask, but there is no vae_encoder");
  }
  const int32_t size = directory.guidance_embedding_size;
  if (IsAmong(kGuidanceInput, denoiser.inputs) ? size < 4 || size % 2 != 0 : size != 0) {
    return Refuse("guidance_embedding_size",
                  "must be even and at least 4 where the UNet takes guidance_embedding, else 0");
  }
  return OkStatus();
}

}  // namespace

Status CheckFamily(const ModelDirectory& directory) {
  const auto family = std::ranges::find(Families(), directory.family, &Family::name);
  if (family == Families().end()) {
    std::string known;
    for (const Family& each : Families()) known.append(known.empty() ? "" : ", ").append(each.name);
    return {StatusCode::kUnimplemented, "UNSUPPORTED_MODEL",
            std::string(kManifestName) + ": family is none that this build serves: " + known};
  }
  const bool has_encoders = std::ranges::equal(directory.text_encoders, family->text_encoders, {},
                                               &ManifestTextEncoder::component);
  if (!has_encoders) {
    return Refuse("text.encoders", "must be " + Listed(family->text_encoders));
  }
  TF_RETURN_IF_ERROR(CheckDenoiser(*family, directory));
  if (IsAmong(kTimeIdsInput, family->conditions) == directory.time_ids.empty()) {
    return Refuse("time_ids", directory.time_ids.empty() ? "must name the UNet's numbers"
                                                         : "goes with no UNet of this family");
  }
  for (const std::string& name : directory.time_ids) {
    if (!IsTimeId(name)) return Refuse("time_ids", "names " + name + ", which no request has");
  }
  const ManifestComponent& last = directory.components.at(directory.text_encoders.back().component);
  if (IsAmong(kPooledInput, family->conditions) &&
      std::ranges::count(last.outputs, "pooled") != 1) {
    return Refuse("text.encoders", "must end with one whose graphs give pooled");
  }
  return OkStatus();
}

}  // namespace tightfit
