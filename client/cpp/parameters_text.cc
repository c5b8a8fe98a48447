#include "client/cpp/parameters_text.h"

#include "client/cpp/parameters_list.h"
#include "client/cpp/server_types.h"
#include "client/cpp/utf8.h"
#include "server/base/shown_samplers.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <system_error>
#include <utility>

namespace tightfit::client {
namespace {

constexpr int32_t kUsualClipSkip = 2;  // A1111's number for SDXL's usual last but one layer
constexpr size_t kMaxNotes = 24;
constexpr size_t kMaxShownBytes = 80;

// What does not change the pixels, or is told where the image's model is chosen.
constexpr std::string_view kHarmless[] = {
    "Version",
    "Model",
    "Model hash",
    "VAE tile",
    "Weight format",
    "Weight scope",
    "Compute dtype",
    "Batch size",
    "Batch pos",
    "User",
    "App",
    "Backend",
    "Civitai resources",
    "Civitai metadata",
    "Hashes",
    "Template",
    "Created date",
    "Negative template",
    "Pipeline",
    "Parser",
    "Diffusion in low bits",
};

// Cut between two characters.
std::string Shown(std::string_view text) {
  if (text.size() <= kMaxShownBytes) return std::string(text);
  size_t end = kMaxShownBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return std::string(text.substr(0, end)) + "...";
}

template <typename Number>
std::optional<Number> NumberOf(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "dpmpp_2m", not "DPM++ 2M".
bool IsIdentifier(std::string_view name) {
  return std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

// The spacing of the timesteps that a schedule of A1111's list means, where it is no other curve.
std::optional<std::string_view> SpacingOf(std::string_view schedule) {
  constexpr std::pair<std::string_view, std::string_view> kSpacings[] = {
      {"Uniform", "linspace"}, {"Normal", "linspace"}, {"SGM Uniform", "trailing"},
      {"Simple", "trailing"},  {"DDIM", "leading"},    {"DDIM Uniform", "leading"},
  };
  for (const auto& [name, spacing] : kSpacings) {
    if (IsSameName(schedule, name)) return spacing;
  }
  return std::nullopt;
}

// Fills one request from one list; the first value that is none ends it.
class Reader {
 public:
  explicit Reader(ParametersList list) : list_(std::move(list)), taken_(list_.fields.size()) {}

  Result<DrawnImage> Read() {
    const std::string* const version = list_.Find("Version");
    image_.is_by_tightfit = version != nullptr && version->starts_with("tightfit");
    ReadPrompts();
    ReadNumbers();
    ReadSampler();
    ReadModel();
    if (!image_.is_by_tightfit) NoteForeignHabits();
    NoteTheRest();
    TF_RETURN_IF_ERROR(std::move(error_));
    return std::move(image_);
  }

 private:
  const std::string* Take(std::string_view name) {
    for (size_t i = 0; i < list_.fields.size(); ++i) {
      if (IsSameName(list_.fields[i].name, name)) taken_[i] = true;
    }
    return list_.Find(name);
  }

  void Refuse(std::string_view name, const std::string& value, const char* kind) {
    if (!error_.ok()) return;
    error_ = {
        StatusCode::kInvalidArgument, "NO_PARAMETERS",
        "its parameters say \"" + std::string(name) + ": " + Shown(value) + "\", which is " + kind};
  }

  template <typename Number>
  void TakeNumber(std::string_view name, std::optional<Number>* number) {
    const std::string* const value = Take(name);
    if (value == nullptr) return;
    *number = NumberOf<Number>(*value);
    if (!number->has_value()) Refuse(name, *value, "no number that can be asked for");
  }

  // Some programs count in fractions of a layer.
  void TakeClipSkip(std::optional<int32_t>* clip_skip) {
    constexpr float kMaxLayers = 1000.0f;
    std::optional<float> told;
    TakeNumber("Clip skip", &told);
    if (!told) return;
    *clip_skip = static_cast<int32_t>(std::lround(std::clamp(*told, -kMaxLayers, kMaxLayers)));
    if (static_cast<float>(**clip_skip) != *told) {
      Note("its clip skip lies between two layers; " + std::to_string(**clip_skip) + " is taken");
    }
  }

  void TakePair(std::string_view name, char separator, std::optional<int32_t>* first,
                std::optional<int32_t>* second) {
    const std::string* const value = Take(name);
    if (value == nullptr) return;
    const size_t middle = value->find(separator);
    if (middle != std::string::npos) {
      *first = NumberOf<int32_t>(std::string_view(*value).substr(0, middle));
      *second = NumberOf<int32_t>(std::string_view(*value).substr(middle + 1));
    }
    if (!*first || !*second) Refuse(name, *value, "no pair of numbers");
  }

  void TakeSize(std::string_view name, std::optional<Size>* size) {
    std::optional<int32_t> width_px;
    std::optional<int32_t> height_px;
    TakePair(name, 'x', &width_px, &height_px);
    if (width_px && height_px) *size = Size{*width_px, *height_px};
  }

  void TakeMargins(std::string_view name, std::optional<Margins>* margins) {
    const std::string* const value = Take(name);
    if (value == nullptr) return;
    Margins told;
    std::string_view rest = *value;
    for (int32_t* const side : {&told.left_px, &told.top_px, &told.right_px, &told.bottom_px}) {
      const bool is_last = side == &told.bottom_px;
      const size_t end = is_last ? rest.size() : rest.find(',');
      const auto number =
          end == std::string_view::npos ? std::nullopt : NumberOf<int32_t>(rest.substr(0, end));
      if (!number) return Refuse(name, *value, "no four numbers");
      *side = *number;
      if (!is_last) rest.remove_prefix(end + 1);
    }
    *margins = told;
  }

  void TakeText(std::string_view name, std::optional<std::string>* text) {
    if (const std::string* const value = Take(name)) *text = *value;
  }

  void TakeText(std::string_view name, std::string* text) {
    if (const std::string* const value = Take(name)) *text = *value;
  }

  void ReadPrompts() {
    ImageRequest& request = image_.request;
    request.prompt = list_.prompt;
    request.negative_prompt = list_.negative_prompt;
    TakeText("Prompt", &request.prompt);
    TakeText("Negative prompt", &request.negative_prompt);
    TakeText("Prompt 2", &request.prompt_2);
    TakeText("Negative prompt 2", &request.negative_prompt_2);
    const std::string* const syntax = Take("Prompt syntax");
    const std::string* const emphasis = Take("Emphasis");
    const bool is_plain = (syntax != nullptr && *syntax == "plain") ||
                          (emphasis != nullptr && IsSameName(*emphasis, "None"));
    request.prompt_syntax = is_plain ? PromptSyntax::kPlain : PromptSyntax::kWeighted;
  }

  void ReadNumbers() {
    ImageRequest& request = image_.request;
    TakeNumber("Steps", &request.step_count);
    TakeNumber("CFG scale", &request.guidance_scale);
    TakeNumber("Seed", &request.seed);
    TakePair("Size", 'x', &request.width_px, &request.height_px);
    // Extensions and other programs have a spelling each.
    for (const char* const name :
         {"Rescale CFG", "CFG Rescale phi", "CFG Rescale \u03C6", "CFG Rescale"}) {
      TakeNumber(name, &request.guidance_rescale);
    }
    TakeClipSkip(&request.clip_skip);
    // A1111 draws SDXL with the usual layer under "1" too.
    if (request.clip_skip) request.clip_skip = std::max(*request.clip_skip, 2) - kUsualClipSkip;
    TakeNumber("Layers left out", &request.clip_skip);
    TakeNumber("Comma backtrack", &request.comma_backtrack_tokens);
    TakeNumber("Denoising start", &request.denoising_start);
    TakeNumber("Denoising end", &request.denoising_end);
    if (!IsEnlarged()) TakeNumber("Denoising strength", &request.strength);
    ReadMask();
    TakeSize("Original size", &request.original_size);
    TakeSize("Target size", &request.target_size);
    std::optional<int32_t> left_px;
    std::optional<int32_t> top_px;
    TakePair("Crop top left", ',', &left_px, &top_px);
    if (left_px && top_px) request.crop_top_left = Offset{*left_px, *top_px};
  }

  void ReadMask() {
    ImageRequest& request = image_.request;
    // Other programs may mean something else by a name, or write fractions.
    const auto take = [this](std::string_view name, std::optional<int32_t>* number) {
      const std::string* const value = list_.Find(name);
      if (value == nullptr || (!image_.is_by_tightfit && !NumberOf<int32_t>(*value))) return;
      TakeNumber(name, number);
    };
    take("Mask blur", &request.mask_blur_px);
    const std::string* const area = list_.Find("Inpaint area");
    if (area != nullptr && IsSameName(*area, "Only masked")) {
      Take("Inpaint area");
      request.inpaint_area = InpaintArea::kMasked;
      take("Masked area padding", &request.inpaint_padding_px);
    } else if (area != nullptr && IsSameName(*area, "Whole picture")) {
      Take("Inpaint area");
    }
    if (image_.is_by_tightfit) TakeMargins("Outpaint", &request.outpaint);
  }

  // Then A1111's strength is that of drawing over its own first image.
  bool IsEnlarged() const {
    return std::ranges::any_of(list_.fields, [](const ParametersList::Field& field) {
      return IsSameName(std::string_view(field.name).substr(0, 5), "Hires") ||
             IsSameName(field.name, "First pass size");
    });
  }

  void ReadSampler() {
    const std::string* const shown = Take("Sampler");
    const std::string* schedule_field = Take("Schedule type");
    if (schedule_field == nullptr) schedule_field = Take("Scheduler");
    TakeText("Timestep spacing", &image_.request.timestep_spacing);
    if (shown == nullptr) return;
    std::string schedule = schedule_field == nullptr ? "" : *schedule_field;
    std::string sampler = *shown;
    // Older texts have both in one name.
    for (const std::string_view suffix : {"Karras", "Exponential"}) {
      if (sampler.size() <= suffix.size() + 1) continue;
      const size_t at = sampler.size() - suffix.size();
      if (sampler[at - 1] == ' ' && IsSameName(std::string_view(sampler).substr(at), suffix)) {
        if (schedule_field == nullptr) schedule = suffix;
        sampler.resize(at - 1);
      }
    }
    ChooseSampler(sampler, schedule);
  }

  void ChooseSampler(const std::string& shown, std::string schedule) {
    const auto is_shown = [&shown](const ShownSampler& each) {
      return IsSameName(each.shown, shown);
    };
    const auto* const first = std::ranges::find_if(kShownSamplers, is_shown);
    if (first == std::end(kShownSamplers)) {
      // Programs without a list of shown names write their own, which the server may know.
      if (image_.is_by_tightfit || IsIdentifier(shown)) {
        // A server knows such names with a schedule behind them, or refuses them.
        const std::optional<std::string_view> spacing = SpacingOf(schedule);
        const bool is_named_alone = image_.is_by_tightfit || schedule.empty() || spacing;
        image_.request.sampler = is_named_alone ? shown : shown + " " + schedule;
        if (!image_.is_by_tightfit && !image_.request.timestep_spacing.has_value()) {
          image_.request.timestep_spacing = std::string(spacing.value_or("linspace"));
        }
      } else {
        Note("sampler \"" + Shown(shown) + "\" is not known; the model's default is taken");
      }
      return;
    }
    if (IsSameName(schedule, "Automatic")) schedule = first->automatic_schedule;
    const std::optional<std::string_view> spacing = SpacingOf(schedule);
    const std::string_view curve = spacing.has_value() ? "" : std::string_view(schedule);
    const auto* const exact = std::ranges::find_if(kShownSamplers, [&](const ShownSampler& each) {
      return is_shown(each) && (each.is_by_timesteps || IsSameName(each.schedule, curve));
    });
    const ShownSampler& chosen = exact != std::end(kShownSamplers) ? *exact : *first;
    image_.request.sampler = chosen.name;
    if (exact == std::end(kShownSamplers)) {
      Note("schedule \"" + Shown(schedule.empty() ? "Uniform" : schedule) + "\" of sampler \"" +
           std::string(first->shown) + "\" is not there; " + std::string(chosen.name) +
           " is taken");
    }
    if (image_.is_by_tightfit || image_.request.timestep_spacing.has_value()) return;
    image_.request.timestep_spacing =
        chosen.is_by_timesteps ? "leading" : std::string(spacing.value_or("linspace"));
  }

  void ReadModel() {
    std::string name;
    TakeText("Model", &name);
    if (!name.empty()) image_.request.model = name;
    TakeText("Model hash", &image_.model_hash);
    TakeText("Weight format", &image_.format);
    TakeText("Weight scope", &image_.scope);
    TakeText("Compute dtype", &image_.compute_dtype);
    for (const std::string_view harmless : kHarmless) Take(harmless);
    const std::string* const noise = Take("RNG");
    if (noise != nullptr ? IsSameName(*noise, "CPU") : image_.is_by_tightfit) return;
    Note("its noise was drawn on a GPU (RNG: " + (noise == nullptr ? "GPU" : Shown(*noise)) +
         "), here it is drawn on the CPU: another image comes out");
  }

  // What A1111 does without a word in its text.
  void NoteForeignHabits() {
    const std::string* const emphasis = list_.Find("Emphasis");
    const std::string mode = emphasis == nullptr ? "Original" : *emphasis;
    const ImageRequest& request = image_.request;
    const std::string prompts = request.prompt + request.negative_prompt.value_or("");
    if (!IsSameName(mode, "No norm") && !IsSameName(mode, "None") &&
        prompts.find_first_of("([") != std::string::npos) {
      Note("its weights were applied as \"Emphasis: " + Shown(mode) +
           "\", here they are as \"No norm\"");
    }
  }

  // All else that is in the list, what belongs together in one line.
  void NoteTheRest() {
    for (size_t i = 0; i < list_.fields.size() && image_.notes.size() < kMaxNotes; ++i) {
      if (taken_[i]) continue;
      const std::string_view name = list_.fields[i].name;
      const std::string_view group = name.substr(0, name.find(' '));
      std::string entries;
      for (size_t j = i; j < list_.fields.size(); ++j) {
        const ParametersList::Field& other = list_.fields[j];
        if (taken_[j] || std::string_view(other.name).substr(0, other.name.find(' ')) != group) {
          continue;
        }
        taken_[j] = true;
        if (entries.size() > kMaxShownBytes) continue;
        entries += (entries.empty() ? "" : ", ") + Shown(other.name) + ": " + Shown(other.value);
      }
      Note("not done here: " + entries);
    }
  }

  void Note(std::string note) {
    if (image_.notes.size() < kMaxNotes) image_.notes.push_back(std::move(note));
  }

  const ParametersList list_;
  std::vector<bool> taken_;  // of each field
  DrawnImage image_;
  Status error_;
};

bool HasHash(const Model& model, const DrawnImage& image) {
  constexpr size_t kMinDigits = 8;
  return image.model_hash.size() >= kMinDigits && model.hash.starts_with(image.model_hash);
}

void NoteDifference(const char* what, const std::string& drawn, const std::string& here,
                    DrawnImage* image) {
  if (drawn.empty() || here.empty() || drawn == here) return;
  image->notes.push_back(std::string("its model had the ") + what + " " + Shown(drawn) +
                         ", here it has " + here + ": pixels differ");
}

}  // namespace

Result<DrawnImage> RequestFromParametersText(std::string_view text) {
  if (!IsUtf8(text)) {
    return Status(StatusCode::kInvalidArgument, "NO_PARAMETERS", "its parameters are no UTF-8");
  }
  TF_ASSIGN_OR_RETURN(ParametersList list, SplitParametersText(text));
  return Reader(std::move(list)).Read();
}

Status ChooseModel(const std::vector<Model>& models, DrawnImage* image) {
  const std::string name = image->request.model.value_or("");
  auto chosen = std::ranges::find(models, name, &Model::name);
  if (chosen == models.end()) {
    chosen = std::ranges::find_if(models, [&](const Model& m) { return HasHash(m, *image); });
  }
  if (chosen == models.end() && models.size() == 1) {
    chosen = models.begin();
    image->notes.push_back("its model " + (name.empty() ? "is not told" : Shown(name)) + "; " +
                           chosen->name + " is taken, the only one of the server");
  }
  if (chosen == models.end()) {
    return {StatusCode::kNotFound, "MODEL_NOT_FOUND",
            "the server has no model " + (name.empty() ? "by its hash" : Shown(name)) +
                " to draw the image with; name one of its own"};
  }
  image->request.model = chosen->name;
  if (!HasHash(*chosen, *image)) {
    NoteDifference("hash", image->model_hash, chosen->hash, image);
  }
  NoteDifference("weight format", image->format, chosen->format, image);
  NoteDifference("weight scope", image->scope, chosen->scope, image);
  NoteDifference("compute dtype", image->compute_dtype, chosen->compute_dtype, image);
  return OkStatus();
}

}  // namespace tightfit::client
