#include "server/image/parameters_text.h"

#include "server/base/shown_samplers.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

constexpr size_t kShownHashDigits = 10;
constexpr std::string_view kNegativePrefix = "Negative prompt:";
constexpr int32_t kUsualCommaBacktrackTokens = 20;

// A sampler that A1111 does not have is shown by its own name.
ShownSampler ShownSamplerOf(std::string_view name) {
  const auto* found = std::ranges::find(kShownSamplers, name, &ShownSampler::name);
  return found != std::end(kShownSamplers) ? *found : ShownSampler{name, name, "", "", true};
}

// "" where A1111 takes these levels by itself, or has no choice of others.
std::string_view ScheduleType(const ShownSampler& sampler, std::string_view timestep_spacing) {
  if (!sampler.schedule.empty() || sampler.is_by_timesteps) return sampler.schedule;
  if (timestep_spacing == "trailing") return "SGM Uniform";
  return sampler.automatic_schedule.empty() ? "" : "Uniform";
}

// The shortest decimal that reads back as `value`, never with an exponent.
template <typename Real>
std::string Decimal(Real value) {
  char digits[64];
  const auto [end, error] =
      std::to_chars(digits, digits + sizeof(digits), value, std::chars_format::fixed);
  return error == std::errc() ? std::string(digits, end) : std::string("0");
}

std::string SizeText(int32_t width_px, int32_t height_px) {
  return std::to_string(width_px) + "x" + std::to_string(height_px);
}

std::string_view Trimmed(std::string_view text) {
  constexpr std::string_view kWhiteSpace = " \t\n\v\f\r";
  const size_t first = text.find_first_not_of(kWhiteSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kWhiteSpace) - first + 1);
}

std::string JsonString(std::string_view value) {
  return nlohmann::json(value).dump(-1, ' ', /*ensure_ascii=*/false,
                                    nlohmann::json::error_handler_t::replace);
}

bool IsAscii(char c) { return static_cast<unsigned char>(c) < 0x80; }

// A1111 writes a value that would confuse the list as a JSON string; one that is empty, begins with
// a quote or has blanks of any script at its ends would be misread as well.
std::string Quoted(std::string_view value) {
  const bool is_plain = !value.empty() && value.find_first_of(",:\n") == std::string_view::npos &&
                        value.front() != '"' && IsAscii(value.front()) && IsAscii(value.back()) &&
                        Trimmed(value) == value;
  return is_plain ? std::string(value) : JsonString(value);
}

// Such a prompt would pass into the negative one where its lines are read.
bool LooksNegative(std::string_view prompt) {
  return prompt.find(kNegativePrefix) != std::string_view::npos;
}

// Readers trim each line and drop empty ones at both ends.
bool IsReadBackFromLines(std::string_view prompt) {
  if (LooksNegative(prompt)) return false;
  if (prompt.empty()) return true;
  if (prompt.front() == '\n' || prompt.back() == '\n') return false;
  while (true) {
    const size_t end = prompt.find('\n');
    const std::string_view line = prompt.substr(0, end);
    if (Trimmed(line) != line) return false;
    if (end == std::string_view::npos) return true;
    prompt.remove_prefix(end + 1);
  }
}

// NUL ends a PNG text chunk.
std::string WithoutNul(std::string text) {
  for (size_t at = text.find('\0'); at != std::string::npos; at = text.find('\0', at)) {
    text.replace(at, 1, "\uFFFD");
  }
  return text;
}

using Fields = std::vector<std::pair<std::string_view, std::string>>;

// Under the names of A1111 and its extensions, in its order.
Fields CommonFields(const GenerationParameters& parameters, int64_t seed,
                    const ModelDescription& model) {
  const ShownSampler sampler = ShownSamplerOf(parameters.sampler);
  Fields fields = {{"Steps", std::to_string(parameters.step_count)},
                   {"Sampler", std::string(sampler.shown)}};
  const std::string_view schedule = ScheduleType(sampler, parameters.timestep_spacing);
  if (!schedule.empty()) fields.emplace_back("Schedule type", schedule);
  fields.emplace_back("CFG scale", Decimal(parameters.guidance_scale));
  fields.emplace_back("Seed", std::to_string(seed));
  fields.emplace_back("Size", SizeText(parameters.width_px, parameters.height_px));
  fields.emplace_back("Model hash", model.hash.substr(0, kShownHashDigits));
  fields.emplace_back("Model", parameters.model);
  fields.emplace_back("Clip skip", std::to_string(parameters.clip_skip + model.usual_clip_skip));
  fields.emplace_back("RNG", "CPU");
  if (parameters.init_image != nullptr) {
    fields.emplace_back("Denoising strength", Decimal(parameters.strength));
  }
  if (parameters.mask != nullptr) {
    fields.emplace_back("Mask blur", std::to_string(parameters.mask_blur_px));
    if (parameters.inpaint_area == InpaintArea::kMasked) {
      fields.emplace_back("Inpaint area", "Only masked");
      fields.emplace_back("Masked area padding", std::to_string(parameters.inpaint_padding_px));
    }
  }
  if (parameters.guidance_rescale != 0.0f) {
    fields.emplace_back("CFG Rescale", Decimal(parameters.guidance_rescale));
  }
  const bool is_plain = parameters.prompt_syntax == PromptSyntax::kPlain;
  fields.emplace_back("Emphasis", is_plain ? "None" : "No norm");
  return fields;
}

void AddOwnFields(const GenerationParameters& parameters, const ModelDescription& model,
                  Fields* fields) {
  const auto add = [fields](std::string_view name, std::string value) {
    fields->emplace_back(name, std::move(value));
  };
  if (parameters.prompt_syntax == PromptSyntax::kPlain) {
    add("Prompt syntax", "plain");
  } else if (parameters.comma_backtrack_tokens != kUsualCommaBacktrackTokens) {
    add("Comma backtrack", std::to_string(parameters.comma_backtrack_tokens));
  }
  // Readers take what A1111 counts for SDXL's way of counting.
  if (model.usual_clip_skip != 2) add("Layers left out", std::to_string(parameters.clip_skip));
  if (!parameters.timestep_spacing.empty()) add("Timestep spacing", parameters.timestep_spacing);
  const auto add_size = [&](std::string_view name,
                            const std::optional<GenerationParameters::SizePx>& size) {
    if (!size.has_value() ||
        (size->width_px == parameters.width_px && size->height_px == parameters.height_px)) {
      return;
    }
    add(name, SizeText(size->width_px, size->height_px));
  };
  add_size("Original size", parameters.original_size);
  add_size("Target size", parameters.target_size);
  if (const auto offset = parameters.crop_top_left.value_or(GenerationParameters::SizePx{});
      offset.width_px != 0 || offset.height_px != 0) {
    add("Crop top left", std::to_string(offset.width_px) + "," + std::to_string(offset.height_px));
  }
  if (const Margins& outpaint = parameters.outpaint; outpaint != Margins()) {
    add("Outpaint", std::to_string(outpaint.left_px) + "," + std::to_string(outpaint.top_px) + "," +
                        std::to_string(outpaint.right_px) + "," +
                        std::to_string(outpaint.bottom_px));
  }
  if (parameters.denoising_start != 0.0f) {
    add("Denoising start", Decimal(parameters.denoising_start));
  }
  if (parameters.denoising_end != 1.0f) add("Denoising end", Decimal(parameters.denoising_end));
  if (const int32_t tile_px = VaeTilePx(model, parameters.width_px, parameters.height_px);
      tile_px > 0) {
    add("VAE tile", std::to_string(tile_px));
  }
  if (!model.format.empty()) add("Weight format", model.format);
  if (!model.scope.empty()) add("Weight scope", model.scope);
  if (!model.compute_dtype.empty()) add("Compute dtype", model.compute_dtype);
  if (!IsReadBackFromLines(parameters.prompt)) add("Prompt", parameters.prompt);
  if (const auto& negative = parameters.negative_prompt;
      negative.has_value() && !IsReadBackFromLines(*negative)) {
    add("Negative prompt", *negative);
  }
  if (parameters.prompt_2.has_value()) add("Prompt 2", *parameters.prompt_2);
  if (parameters.negative_prompt_2.has_value()) {
    add("Negative prompt 2", *parameters.negative_prompt_2);
  }
}

}  // namespace

std::string ParametersText(const GenerationParameters& parameters, int64_t seed,
                           const ModelDescription& model) {
  Fields fields = CommonFields(parameters, seed, model);
  AddOwnFields(parameters, model, &fields);
  fields.emplace_back("Version", "tightfit " TIGHTFIT_VERSION);

  std::string text = parameters.prompt;
  if (LooksNegative(text)) text = JsonString(text);
  if (parameters.negative_prompt.has_value()) {
    text.append("\n").append(kNegativePrefix).append(" ").append(*parameters.negative_prompt);
  }
  text += '\n';
  std::string_view separator;
  for (const auto& [name, value] : fields) {
    text.append(separator).append(name).append(": ").append(Quoted(value));
    separator = ", ";
  }
  return WithoutNul(std::string(Trimmed(text)));
}

}  // namespace tightfit
