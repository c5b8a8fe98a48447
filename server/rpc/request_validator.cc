#include "server/rpc/request_validator.h"

#include "server/engine/prompt_warnings.h"
#include "server/engine/sampler_names.h"
#include "server/image/latents_file.h"
#include "server/rpc/image_inputs.h"
#include "server/rpc/mime_types.h"
#include "server/rpc/reply_size.h"
#include "server/rpc/request_identity.h"
#include "server/rpc/unknown_fields.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

constexpr int32_t kMaxConditioningPx = 8192;
constexpr std::string_view kParametersPrefix = "parameters.";

// Of a chunk: a comma further back than this lies in none.
constexpr int32_t kMaxCommaBacktrackTokens = 74;

std::string Between(int64_t low, int64_t high) {
  return "must be from " + std::to_string(low) + " to " + std::to_string(high);
}

// Line ends and tab are the only control characters that prompts need; C1 controls (U+0080 to
// U+009F) are two bytes in UTF-8.
bool HasControlCharacter(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x20 && byte != '\n' && byte != '\r' && byte != '\t') return true;
    if (byte == 0x7F) return true;
    if (byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0) {
      return true;
    }
  }
  return false;
}

// Every line end, CR LF and CR too, as a newline.
std::string WithNewlines(const std::string& text) {
  std::string lines;
  lines.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n') continue;
    lines += text[i] == '\r' ? '\n' : text[i];
  }
  return lines;
}

// Checks one ImageParameters message and collects what is wrong.
class Validator {
 public:
  Validator(const v1::ImageParameters& message, const Limits& limits)
      : message_(message), limits_(limits) {}

  std::vector<FieldViolation>& violations() { return violations_; }

  void Refuse(std::string field, std::string description) {
    violations_.push_back({std::move(field), std::move(description)});
  }

  // What no model changes.
  void CheckTexts() {
    CheckPrompt("prompt", message_.prompt());
    if (message_.has_prompt_2()) CheckPrompt("prompt_2", message_.prompt_2());
    if (message_.has_negative_prompt()) CheckPrompt("negative_prompt", message_.negative_prompt());
    if (message_.has_negative_prompt_2()) {
      CheckPrompt("negative_prompt_2", message_.negative_prompt_2());
    }
    if (message_.has_mime_type() && message_.mime_type() != kPngMimeType &&
        message_.mime_type() != kLatentsMimeType) {
      Refuse("mime_type", std::string("must be ") + kPngMimeType + " or " + kLatentsMimeType);
    }
    if (!v1::PromptSyntax_IsValid(message_.prompt_syntax())) {
      Refuse("prompt_syntax", "must be PROMPT_SYNTAX_WEIGHTED or PROMPT_SYNTAX_PLAIN");
    }
    const std::string& spacing = message_.timestep_spacing();
    if (message_.has_timestep_spacing() && spacing != "leading" && spacing != "trailing" &&
        spacing != "linspace") {
      Refuse("timestep_spacing", "must be one of leading, trailing, linspace");
    }
  }

  void CheckNumbers() {
    if (message_.has_width_px()) {
      CheckRange("width_px", message_.width_px(), limits_.min_side_px, limits_.max_side_px);
    }
    if (message_.has_height_px()) {
      CheckRange("height_px", message_.height_px(), limits_.min_side_px, limits_.max_side_px);
    }
    if (message_.has_step_count()) {
      CheckRange("step_count", message_.step_count(), 1, limits_.max_step_count);
    }
    if (message_.has_image_count()) {
      CheckRange("image_count", message_.image_count(), 1, limits_.max_image_count);
    }
    if (message_.has_guidance_scale()) {
      CheckFloat("guidance_scale", message_.guidance_scale(), limits_.max_guidance_scale);
    }
    if (message_.has_guidance_rescale()) {
      CheckFloat("guidance_rescale", message_.guidance_rescale(), 1.0f);
    }
    CheckRange("comma_backtrack_tokens", message_.comma_backtrack_tokens(), 0,
               kMaxCommaBacktrackTokens);
    if (message_.comma_backtrack_tokens() > 0 &&
        message_.prompt_syntax() == v1::PROMPT_SYNTAX_PLAIN) {
      Refuse("comma_backtrack_tokens", "goes with PROMPT_SYNTAX_WEIGHTED");
    }
    if (message_.has_seed()) {
      const int32_t count = std::clamp(message_.image_count(), 1, limits_.max_image_count);
      CheckRange("seed", message_.seed(), 0, std::numeric_limits<int64_t>::max() - count);
    }
  }

  // Which part of the denoising is asked for.
  void CheckDenoising() {
    const float start = message_.denoising_start();
    const float end = message_.has_denoising_end() ? message_.denoising_end() : 1.0f;
    // The negations refuse NaN too.
    if (!(start >= 0.0f && start < 1.0f)) {
      Refuse("denoising_start", "must be at least 0 and below 1");
    }
    if (!(end > 0.0f && end <= 1.0f)) Refuse("denoising_end", "must be above 0 and at most 1");
    if (start >= end) Refuse("denoising_start", "must be below denoising_end");
    const int32_t images = message_.has_image_count() ? message_.image_count() : 1;
    const int32_t given = message_.initial_latents_size();
    if (start > 0.0f && given != images) {
      Refuse("initial_latents", "must be given once for each of the " + std::to_string(images) +
                                    " images where denoising_start is above 0, but there are " +
                                    std::to_string(given));
    }
    if (!(start > 0.0f) && given > 0) {
      Refuse("initial_latents", "goes with a denoising_start above 0");
    }
  }

  void CheckConditioning() {
    if (message_.has_original_size()) CheckSize("original_size", message_.original_size());
    if (message_.has_target_size()) CheckSize("target_size", message_.target_size());
    if (message_.has_crop_top_left()) {
      CheckRange("crop_top_left.left_px", message_.crop_top_left().left_px(), 0,
                 kMaxConditioningPx);
      CheckRange("crop_top_left.top_px", message_.crop_top_left().top_px(), 0, kMaxConditioningPx);
    }
  }

  // What depends on the model and its defaults.
  void CheckAgainst(const ModelDescription& model) {
    CheckMultiple("width_px", message_.has_width_px(), message_.width_px(), model);
    CheckMultiple("height_px", message_.has_height_px(), message_.height_px(), model);
    sampler_ = model.default_sampler;
    if (message_.has_sampler()) {
      const Result<std::string> sampler = ResolveSamplerName(message_.sampler(), model.samplers);
      if (sampler.ok()) sampler_ = *sampler;
      if (!sampler.ok()) Refuse("sampler", sampler.status().message());
    }
    if (message_.has_clip_skip()) {
      CheckRange("clip_skip", message_.clip_skip(), 0, model.max_clip_skip);
    }
    CheckConditionsOf(model);
  }

  // Fields that count in some families of models alone.
  void CheckConditionsOf(const ModelDescription& model) {
    const auto refuse = [&](const char* field, bool is_given, bool is_taken, const char* lacks) {
      if (!is_given || is_taken) return;
      Refuse(field, std::string("goes with no model of the family ") + model.family + ", which " +
                        lacks + "; leave it out");
    };
    const char* const one_encoder = "has one text encoder";
    refuse("prompt_2", message_.has_prompt_2(), model.takes_second_prompt, one_encoder);
    refuse("negative_prompt_2", message_.has_negative_prompt_2(), model.takes_second_prompt,
           one_encoder);
    if (model.needs_mask && !HasMask(message_)) {
      Refuse(
          message_.has_init_image() ? "mask" : "init_image",
          "must be given: the model draws in a mask over an image (inpainting), and nothing else");
    }
    const char* const no_sizes = "is told of no sizes";
    refuse("original_size", message_.has_original_size(), model.takes_sizes, no_sizes);
    refuse("target_size", message_.has_target_size(), model.takes_sizes, no_sizes);
    refuse("crop_top_left", message_.has_crop_top_left(), model.takes_sizes, no_sizes);
  }

  // Reads the latents that a request goes on from into `parameters`.
  void TakeInitialLatents(const ModelDescription& model, GenerationParameters* parameters) {
    const int32_t height = parameters->height_px / std::max(model.pixels_per_latent, 1);
    const int32_t width = parameters->width_px / std::max(model.pixels_per_latent, 1);
    for (int i = 0; i < message_.initial_latents_size(); ++i) {
      const std::string field = "initial_latents[" + std::to_string(i) + "]";
      Result<Latents> latents = DecodeLatents(message_.initial_latents(i));
      if (!latents.ok()) {
        Refuse(field, latents.status().message());
      } else if (latents->channels != model.latent_channels || latents->height != height ||
                 latents->width != width) {
        Refuse(field, "must have the shape [" + std::to_string(model.latent_channels) + ", " +
                          std::to_string(height) + ", " + std::to_string(width) + "] of the image");
      } else {
        parameters->initial_latents.push_back(*std::move(latents));
      }
    }
  }

  // Products of fields that are fine by themselves.
  void CheckProducts(const GenerationParameters& parameters) {
    const int64_t area = int64_t{parameters.width_px} * parameters.height_px;
    if (area > limits_.max_area_px) {
      Refuse("width_px", "width_px x height_px is " + std::to_string(area) +
                             ", but must be at most " + std::to_string(limits_.max_area_px));
      return;
    }
    const int64_t pixel_steps = area * parameters.image_count * parameters.step_count;
    if (pixel_steps > limits_.max_pixel_steps) {
      Refuse("step_count", "width_px x height_px x image_count x step_count is " +
                               std::to_string(pixel_steps) + ", but must be at most " +
                               std::to_string(limits_.max_pixel_steps));
    }
  }

  // After CheckAgainst. `inputs`: decoded already, whose image tells the size by default.
  GenerationParameters Resolve(const ModelDescription& model, const ImageInputs& inputs) const {
    GenerationParameters parameters;
    parameters.model = model.name;
    parameters.prompt = WithNewlines(message_.prompt());
    if (message_.has_prompt_2()) parameters.prompt_2 = WithNewlines(message_.prompt_2());
    if (message_.has_negative_prompt()) {
      parameters.negative_prompt = WithNewlines(message_.negative_prompt());
    }
    if (message_.has_negative_prompt_2()) {
      parameters.negative_prompt_2 = WithNewlines(message_.negative_prompt_2());
    }
    parameters.width_px = message_.has_width_px()
                              ? message_.width_px()
                              : inputs.DefaultWidthPx(model).value_or(model.default_width_px);
    parameters.height_px = message_.has_height_px()
                               ? message_.height_px()
                               : inputs.DefaultHeightPx(model).value_or(model.default_height_px);
    parameters.step_count =
        message_.has_step_count() ? message_.step_count() : model.default_step_count;
    parameters.guidance_scale =
        message_.has_guidance_scale() ? message_.guidance_scale() : model.default_guidance_scale;
    parameters.guidance_rescale = message_.guidance_rescale();
    parameters.embeds_guidance = model.embeds_guidance;
    parameters.sampler = sampler_;
    parameters.timestep_spacing = message_.has_timestep_spacing() ? message_.timestep_spacing()
                                                                  : model.default_timestep_spacing;
    parameters.seed = message_.has_seed() ? message_.seed() : DrawSeed();
    parameters.image_count = message_.has_image_count() ? message_.image_count() : 1;
    parameters.prompt_syntax = message_.prompt_syntax() == v1::PROMPT_SYNTAX_PLAIN
                                   ? PromptSyntax::kPlain
                                   : PromptSyntax::kWeighted;
    if (parameters.prompt_syntax == PromptSyntax::kPlain) {
      parameters.comma_backtrack_tokens = 0;
    } else if (message_.has_comma_backtrack_tokens()) {
      parameters.comma_backtrack_tokens = message_.comma_backtrack_tokens();
    }
    parameters.clip_skip = message_.clip_skip();
    parameters.denoising_start = message_.denoising_start();
    if (message_.has_denoising_end()) parameters.denoising_end = message_.denoising_end();
    if (message_.mime_type() == kLatentsMimeType) parameters.output = OutputKind::kLatents;
    if (message_.has_original_size()) parameters.original_size = SizeOf(message_.original_size());
    if (message_.has_target_size()) parameters.target_size = SizeOf(message_.target_size());
    if (message_.has_crop_top_left()) {
      parameters.crop_top_left = {.height_px = message_.crop_top_left().top_px(),
                                  .width_px = message_.crop_top_left().left_px()};
    }
    return parameters;
  }

 private:
  static GenerationParameters::SizePx SizeOf(const v1::Size& size) {
    return {.height_px = size.height_px(), .width_px = size.width_px()};
  }

  void CheckPrompt(const char* field, const std::string& text) {
    if (std::cmp_greater(text.size(), limits_.max_prompt_bytes)) {
      Refuse(field, "has " + std::to_string(text.size()) + " bytes, but may have at most " +
                        std::to_string(limits_.max_prompt_bytes));
    } else if (HasControlCharacter(text)) {
      Refuse(field, "must not contain control characters other than line ends and tab");
    }
  }

  void CheckRange(std::string field, int64_t value, int64_t low, int64_t high) {
    if (value < low || value > high) {
      Refuse(std::move(field), Between(low, high) + ", but is " + std::to_string(value));
    }
  }

  // From 0 to `high`, a whole number.
  void CheckFloat(const char* field, float value, float high) {
    // The negation refuses NaN too.
    if (!(value >= 0.0f && value <= high)) {
      Refuse(field, Between(0, static_cast<int64_t>(high)) +
                        (std::isfinite(value) ? ", but is " + std::to_string(value) : ""));
    }
  }

  void CheckSize(const std::string& field, const v1::Size& size) {
    CheckRange(field + ".width_px", size.width_px(), 1, kMaxConditioningPx);
    CheckRange(field + ".height_px", size.height_px(), 1, kMaxConditioningPx);
  }

  void CheckMultiple(const char* field, bool present, int32_t value,
                     const ModelDescription& model) {
    if (!present || value < limits_.min_side_px || value > limits_.max_side_px) return;
    if (model.pixels_per_latent > 0 && value % model.pixels_per_latent != 0) {
      Refuse(field, "must be a multiple of " + std::to_string(model.pixels_per_latent) +
                        ", but is " + std::to_string(value));
    }
  }

  const v1::ImageParameters& message_;
  const Limits& limits_;
  std::string sampler_;  // by our own name
  std::vector<FieldViolation> violations_;
};

// Of the prompts that the request gives, by their fields' own values.
std::vector<RequestWarning> WarningsOf(const v1::ImageParameters& message) {
  const PromptSyntax syntax = message.prompt_syntax() == v1::PROMPT_SYNTAX_PLAIN
                                  ? PromptSyntax::kPlain
                                  : PromptSyntax::kWeighted;
  std::vector<RequestWarning> warnings;
  const std::pair<const char*, const std::string&> prompts[] = {
      {"prompt", message.prompt()},
      {"prompt_2", message.prompt_2()},
      {"negative_prompt", message.negative_prompt()},
      {"negative_prompt_2", message.negative_prompt_2()}};
  for (const auto& [field, prompt] : prompts) {
    for (RequestWarning& warning : PromptWarnings(field, prompt, syntax)) {
      if (warnings.size() < kMaxRequestWarnings) warnings.push_back(std::move(warning));
    }
  }
  return warnings;
}

// No message of `warnings` is larger.
int64_t BytesOf(const std::vector<RequestWarning>& warnings) {
  constexpr size_t kTagBytes = 32;
  size_t bytes = 0;
  for (const RequestWarning& warning : warnings) {
    bytes += warning.reason.size() + warning.field.size() + warning.text.size() +
             warning.message.size() + kTagBytes;
  }
  return static_cast<int64_t>(bytes);
}

// The model that is asked for; nullopt when it is not configured. A choice that the client must
// make is a violation.
std::optional<ModelSnapshot> FindModel(const v1::ImageParameters& message,
                                       const ModelRegistry& registry, Validator& validator) {
  if (!message.model().empty()) return registry.Find(message.model());
  std::vector<ModelSnapshot> models = registry.List();
  if (models.size() == 1) return std::move(models.front());
  if (models.size() > 1) {
    validator.Refuse("model", "is required, because several models are configured");
  }
  return std::nullopt;
}

Result<AcceptedRequest> Validate(const google::protobuf::Message& request,
                                 const v1::ImageParameters& message, const std::string& request_id,
                                 const Limits& limits, const ModelRegistry& registry) {
  Validator validator(message, limits);
  if (!request_id.empty() && !IsRequestId(request_id)) {
    validator.Refuse("request_id", "must be 1 to 64 characters of [A-Za-z0-9._-]");
  }
  validator.CheckTexts();
  validator.CheckConditioning();
  validator.CheckDenoising();
  ImageInputs inputs(message, limits);
  inputs.CheckFields(&validator.violations());
  const size_t violations_before_numbers = validator.violations().size();
  validator.CheckNumbers();
  const bool numbers_fit = validator.violations().size() == violations_before_numbers;

  const std::optional<ModelSnapshot> snapshot = FindModel(message, registry, validator);
  const ModelDescription* const model =
      snapshot.has_value() ? snapshot->description.get() : nullptr;
  AcceptedRequest accepted;
  if (model != nullptr) {
    validator.CheckAgainst(*model);
    TF_RETURN_IF_ERROR(inputs.Decode(*model, &validator.violations()));
    accepted.parameters = validator.Resolve(*model, inputs);
    inputs.CheckAgainst(accepted.parameters, numbers_fit, &validator.violations());
    if (numbers_fit) validator.CheckProducts(accepted.parameters);
    // Otherwise there may be millions of them.
    if (numbers_fit &&
        std::cmp_equal(message.initial_latents_size(), accepted.parameters.image_count)) {
      validator.TakeInitialLatents(*model, &accepted.parameters);
    }
  }
  // Last: an answer holds a bounded number, and these must not hide the others.
  for (FieldViolation& violation : UnknownFields(request)) {
    if (violation.field.starts_with(kParametersPrefix)) {
      violation.field.erase(0, kParametersPrefix.size());
    }
    validator.Refuse(std::move(violation.field), std::move(violation.description));
  }
  TF_RETURN_IF_ERROR(RefuseIfAny(std::move(validator.violations())));

  if (!snapshot.has_value()) return ModelNotFound(message.model());
  TF_RETURN_IF_ERROR(CheckServable(*snapshot));
  TF_RETURN_IF_ERROR(inputs.MoveTo(&accepted.parameters));
  accepted.parameters.request_id = request_id.empty() ? MakeRequestId() : request_id;
  accepted.model = snapshot->description;
  accepted.warnings = WarningsOf(message);
  accepted.embed_metadata = !message.has_embed_metadata() || message.embed_metadata();
  return accepted;
}

}  // namespace

Result<AcceptedRequest> ValidateRequest(const v1::StreamImagesRequest& request,
                                        const Limits& limits, const ModelRegistry& registry) {
  return Validate(request, request.parameters(), request.request_id(), limits, registry);
}

Result<AcceptedRequest> ValidateRequest(const v1::GenerateImagesRequest& request,
                                        const Limits& limits, const ModelRegistry& registry) {
  TF_ASSIGN_OR_RETURN(AcceptedRequest accepted, Validate(request, request.parameters(),
                                                         request.request_id(), limits, registry));
  const int64_t reply_bytes =
      LargestUnaryReplyBytes(accepted.parameters) + BytesOf(accepted.warnings);
  if (reply_bytes > limits.max_unary_reply_bytes) {
    return RefuseIfAny({{"image_count", "the reply may take " + std::to_string(reply_bytes) +
                                            " bytes, more than the " +
                                            std::to_string(limits.max_unary_reply_bytes) +
                                            " of a unary reply: use StreamImages"}});
  }
  return accepted;
}

Result<AcceptedRequest> ValidateRequest(const v1::EstimateImagesRequest& request,
                                        const Limits& limits, const ModelRegistry& registry) {
  return Validate(request, request.parameters(), /*request_id=*/"", limits, registry);
}

}  // namespace tightfit
