#include "client/cli/flag_names.h"

#include <cctype>
#include <utility>

namespace tightfit::cli {
namespace {

// Words of plain English among the fields, such as model and seed, stand for themselves but where
// they begin the text: that is where a field is named. The prompt needs no option.
struct FlagName {
  std::string_view field;
  std::string_view flag;
  bool is_word = false;
};
constexpr FlagName kFlagNames[] = {
    {"model", "--model", true},
    {"prompt_2", "--prompt-2"},
    {"negative_prompt", "--negative-prompt"},
    {"negative_prompt_2", "--negative-prompt-2"},
    {"width_px", "--width"},
    {"height_px", "--height"},
    {"step_count", "--steps"},
    {"guidance_scale", "--guidance"},
    {"guidance_rescale", "--guidance-rescale"},
    {"sampler", "--sampler", true},
    {"seed", "--seed", true},
    {"image_count", "--count"},
    {"original_size", "--original-size"},
    {"target_size", "--target-size"},
    {"crop_top_left", "--crop-top-left"},
    {"prompt_syntax", "--prompt-syntax"},
    {"clip_skip", "--clip-skip"},
    {"denoising_start", "--denoising-start"},
    {"denoising_end", "--denoising-end"},
    {"initial_latents", "--initial-latents"},
    {"timestep_spacing", "--timestep-spacing"},
    {"comma_backtrack_tokens", "--comma-backtrack"},
    {"init_image", "--init-image"},
    {"strength", "--strength", true},
    {"mask", "--mask", true},
    {"keep_unmasked_pixels", "--no-keep-unmasked"},
    {"mask_blur_px", "--mask-blur"},
    {"inpaint_area", "--inpaint-area"},
    {"inpaint_padding_px", "--inpaint-padding"},
    {"outpaint", "--outpaint"},
    {"request_id", "--request-id"},
    {"keep_alive_duration", "--keep-alive"},
    {"priority", "--priority", true},
    {"pinned", "--pinned", true},
};

bool IsOfName(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

std::string_view FlagOf(std::string_view name, bool is_first) {
  for (const FlagName& each : kFlagNames) {
    if (each.field == name && (is_first || !each.is_word)) return each.flag;
  }
  return {};
}

}  // namespace

std::string WithFlagNames(std::string_view text) {
  std::string named;
  size_t at = 0;
  while (at < text.size()) {
    size_t end = at;
    while (end < text.size() && IsOfName(text[end])) ++end;
    if (end == at) {
      named += text[at++];
      continue;
    }
    const std::string_view flag = FlagOf(text.substr(at, end - at), at == 0);
    named += flag.empty() ? text.substr(at, end - at) : flag;
    // One option takes all parts of a size or an offset, or all entries of a list.
    if (!flag.empty() && end < text.size() && text[end] == '.' && end + 1 < text.size() &&
        IsOfName(text[end + 1])) {
      ++end;
      while (end < text.size() && IsOfName(text[end])) ++end;
    }
    at = end;
  }
  return named;
}

}  // namespace tightfit::cli
