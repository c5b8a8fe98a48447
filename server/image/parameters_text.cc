#include "server/image/parameters_text.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

constexpr size_t kShownHashDigits = 10;

// The names that A1111's list of samplers shows; readers of its text look these up.
std::string_view ShownSamplerName(std::string_view sampler) {
  constexpr std::pair<std::string_view, std::string_view> kNames[] = {
      {"euler", "Euler"},
      {"euler-karras", "Euler Karras"},
      {"euler-exponential", "Euler Exponential"},
      {"euler-a", "Euler a"},
      {"heun", "Heun"},
      {"ddim", "DDIM"},
      {"dpmpp-2m", "DPM++ 2M"},
      {"dpmpp-2m-karras", "DPM++ 2M Karras"},
      {"dpmpp-2m-sde-karras", "DPM++ 2M SDE Karras"},
      {"unipc", "UniPC"},
      {"lcm", "LCM"},
  };
  for (const auto& [name, shown] : kNames) {
    if (sampler == name) return shown;
  }
  return sampler;
}

// The shortest decimal that reads back as `value`, never with an exponent.
std::string Decimal(float value) {
  char digits[64];
  const auto [end, error] =
      std::to_chars(digits, digits + sizeof(digits), value, std::chars_format::fixed);
  return error == std::errc() ? std::string(digits, end) : std::string("0");
}

// A1111 writes a value that would confuse the list as a JSON string.
std::string Quoted(std::string_view value) {
  if (value.find_first_of(",:\n") == std::string_view::npos) return std::string(value);
  return nlohmann::json(value).dump(-1, ' ', /*ensure_ascii=*/false,
                                    nlohmann::json::error_handler_t::replace);
}

// NUL ends a PNG text chunk.
std::string WithoutNul(std::string text) {
  for (size_t at = text.find('\0'); at != std::string::npos; at = text.find('\0', at)) {
    text.replace(at, 1, "\uFFFD");
  }
  return text;
}

std::string_view Trimmed(std::string_view text) {
  constexpr std::string_view kWhiteSpace = " \t\n\v\f\r";
  const size_t first = text.find_first_not_of(kWhiteSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kWhiteSpace) - first + 1);
}

}  // namespace

std::string ParametersText(const GenerationParameters& parameters, int64_t seed,
                           std::string_view model_hash) {
  std::vector<std::pair<std::string_view, std::string>> fields = {
      {"Steps", std::to_string(parameters.step_count)},
      {"Sampler", std::string(ShownSamplerName(parameters.sampler))},
      {"CFG scale", Decimal(parameters.guidance_scale)},
      {"Seed", std::to_string(seed)},
      {"Size", std::to_string(parameters.width_px) + "x" + std::to_string(parameters.height_px)},
      {"Model hash", std::string(model_hash.substr(0, kShownHashDigits))},
      {"Model", parameters.model},
  };
  // A1111 counts from 1.
  if (parameters.clip_skip > 0) {
    fields.emplace_back("Clip skip", std::to_string(parameters.clip_skip + 1));
  }
  if (parameters.prompt_2.has_value()) fields.emplace_back("Prompt 2", *parameters.prompt_2);
  if (parameters.negative_prompt_2.has_value()) {
    fields.emplace_back("Negative prompt 2", *parameters.negative_prompt_2);
  }
  fields.emplace_back("Version", "tightfit " TIGHTFIT_VERSION);

  std::string text = parameters.prompt;
  if (parameters.negative_prompt.has_value() && !parameters.negative_prompt->empty()) {
    text += "\nNegative prompt: " + *parameters.negative_prompt;
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
