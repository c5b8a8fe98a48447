#include "tests/support/bad_image_parameters.h"

#include "tests/support/input_image_files.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

namespace tightfit {
namespace {

using Parameters = v1::ImageParameters;
using Cases = std::vector<BadImageParameters>;

constexpr int32_t kMax32 = std::numeric_limits<int32_t>::max();
constexpr int32_t kMin32 = std::numeric_limits<int32_t>::min();
constexpr int64_t kMax64 = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin64 = std::numeric_limits<int64_t>::min();

// One below the range, one above it, and far away.
void AddIntegers(Cases* cases, const std::string& field, int32_t low, int32_t high,
                 const std::string& limit, const std::function<void(Parameters&, int32_t)>& set) {
  for (const int32_t value : {low - 1, high + 1, -1000, kMin32, kMax32}) {
    cases->push_back(
        {field + " " + std::to_string(value), [=](Parameters& p) { set(p, value); }, field, limit});
  }
}

void AddFloats(Cases* cases, const std::string& field, float high, const std::string& limit,
               const std::function<void(Parameters&, float)>& set) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  for (const float value :
       {std::nextafter(high, kInfinity), -std::numeric_limits<float>::denorm_min(), -0.1f, -kNan,
        kNan, kInfinity, -kInfinity, std::numeric_limits<float>::max(),
        std::numeric_limits<float>::lowest()}) {
    cases->push_back(
        {field + " " + std::to_string(value), [=](Parameters& p) { set(p, value); }, field, limit});
  }
}

void AddTexts(Cases* cases, const std::string& field,
              const std::function<void(Parameters&, const std::string&)>& set) {
  const auto add = [&](const char* what, const std::string& text, const char* limit) {
    cases->push_back({field + " " + what, [=](Parameters& p) { set(p, text); }, field, limit});
  };
  add("one byte too long", std::string(4097, 'x'), "at most 4096");
  add("of a mebibyte", std::string(1 << 20, 'x'), "at most 4096");
  // 1366 characters of three bytes.
  std::string wide;
  for (int i = 0; i < 1366; ++i) wide += "\xE2\x82\xAC";
  add("too long in bytes only", wide, "at most 4096");
  const char* const kControls = "control characters";
  add("NUL", std::string(1, '\0'), kControls);
  add("NUL behind it", std::string("secret\0", 7), kControls);
  add("NUL within", std::string("se\0cret", 7), kControls);
  add("bell", "secret\a", kControls);
  add("backspace", "secret\b", kControls);
  add("vertical tab", "secret\v", kControls);
  add("escape", "secret\x1b[2J", kControls);
  add("unit separator", "secret\x1f", kControls);
  add("delete", "secret\x7f", kControls);
  add("first of C1", "secret\xC2\x80", kControls);
  add("next line", "secret\xC2\x85", kControls);
  add("last of C1", "secret\xC2\x9F", kControls);
}

void AddSize(Cases* cases, const std::string& field,
             const std::function<v1::Size*(Parameters&)>& size) {
  AddIntegers(cases, field + ".width_px", 1, 8192, "1 to 8192", [=](Parameters& p, int32_t value) {
    size(p)->set_width_px(value);
    size(p)->set_height_px(1);
  });
  AddIntegers(cases, field + ".height_px", 1, 8192, "1 to 8192", [=](Parameters& p, int32_t value) {
    size(p)->set_width_px(8192);
    size(p)->set_height_px(value);
  });
  cases->push_back(
      {field + " empty", [=](Parameters& p) { size(p); }, field + ".width_px", "1 to 8192"});
}

void AddNumbers(Cases* cases) {
  AddIntegers(cases, "width_px", 16, 2048, "16 to 2048",
              [](Parameters& p, int32_t value) { p.set_width_px(value); });
  AddIntegers(cases, "height_px", 16, 2048, "16 to 2048",
              [](Parameters& p, int32_t value) { p.set_height_px(value); });
  AddIntegers(cases, "step_count", 1, 150, "1 to 150",
              [](Parameters& p, int32_t value) { p.set_step_count(value); });
  AddIntegers(cases, "image_count", 1, 8, "1 to 8",
              [](Parameters& p, int32_t value) { p.set_image_count(value); });
  AddIntegers(cases, "clip_skip", 0, 2, "0 to 2",
              [](Parameters& p, int32_t value) { p.set_clip_skip(value); });
  AddIntegers(cases, "comma_backtrack_tokens", 0, 74, "0 to 74",
              [](Parameters& p, int32_t value) { p.set_comma_backtrack_tokens(value); });
  cases->push_back({"comma_backtrack_tokens of a plain prompt",
                    [](Parameters& p) {
                      p.set_prompt_syntax(v1::PROMPT_SYNTAX_PLAIN);
                      p.set_comma_backtrack_tokens(20);
                    },
                    "comma_backtrack_tokens", "PROMPT_SYNTAX_WEIGHTED"});
  AddFloats(cases, "guidance_scale", 30.0f, "0 to 30",
            [](Parameters& p, float value) { p.set_guidance_scale(value); });
  AddFloats(cases, "guidance_rescale", 1.0f, "0 to 1",
            [](Parameters& p, float value) { p.set_guidance_rescale(value); });
  AddFloats(cases, "denoising_end", 1.0f, "above 0 and at most 1",
            [](Parameters& p, float value) { p.set_denoising_end(value); });
  AddFloats(cases, "denoising_start", 1.0f, "at least 0 and below 1",
            [](Parameters& p, float value) { p.set_denoising_start(value); });
  AddSize(cases, "original_size", [](Parameters& p) { return p.mutable_original_size(); });
  AddSize(cases, "target_size", [](Parameters& p) { return p.mutable_target_size(); });
  AddIntegers(cases, "crop_top_left.left_px", 0, 8192, "0 to 8192",
              [](Parameters& p, int32_t v) { p.mutable_crop_top_left()->set_left_px(v); });
  AddIntegers(cases, "crop_top_left.top_px", 0, 8192, "0 to 8192",
              [](Parameters& p, int32_t v) { p.mutable_crop_top_left()->set_top_px(v); });
  const Cases rest = {
      {"width between latents", [](Parameters& p) { p.set_width_px(65); }, "width_px",
       "multiple of 4"},
      {"height between latents", [](Parameters& p) { p.set_height_px(2046); }, "height_px",
       "multiple of 4"},
      {"seed -1", [](Parameters& p) { p.set_seed(-1); }, "seed", "0 to 9223372036854775806"},
      {"seed -2^63", [](Parameters& p) { p.set_seed(kMin64); }, "seed", "0 to"},
      {"the last seed", [](Parameters& p) { p.set_seed(kMax64); }, "seed",
       "0 to 9223372036854775806"},
      {"a seed that overflows with the last image",
       [](Parameters& p) {
         p.set_seed(kMax64 - 2);
         p.set_image_count(3);
       },
       "seed", "0 to 9223372036854775804"},
      {"more pixel steps than allowed",
       [](Parameters& p) {
         p.set_width_px(2048);
         p.set_height_px(2048);
         p.set_step_count(76);
         p.set_image_count(2);
       },
       "step_count", "at most 629145600"},
      {"the largest of everything",
       [](Parameters& p) {
         p.set_width_px(2048);
         p.set_height_px(2048);
         p.set_step_count(150);
         p.set_image_count(8);
       },
       "step_count", "at most 629145600"},
      {"the end before the start",
       [](Parameters& p) {
         p.set_denoising_start(0.5f);
         p.set_denoising_end(0.25f);
         p.add_initial_latents(GoodLatentsFile());
       },
       "denoising_start", "below denoising_end"},
      {"the end at the start",
       [](Parameters& p) {
         p.set_denoising_start(0.5f);
         p.set_denoising_end(0.5f);
         p.add_initial_latents(GoodLatentsFile());
       },
       "denoising_start", "below denoising_end"},
  };
  cases->insert(cases->end(), rest.begin(), rest.end());
}

void AddChoices(Cases* cases) {
  for (const std::string& sampler :
       {std::string(), std::string("ddim"), std::string("DDIM"), std::string("euler "),
        std::string("DPM++ 2M Karras"), std::string("DDIMScheduler"), std::string("Euler Karras"),
        std::string("eulr"), std::string("euler\0", 6), std::string("\xEF\xBC\xA5uler"),
        std::string(1 << 20, 'e')}) {
    cases->push_back({"sampler " + sampler.substr(0, 10),
                      [=](Parameters& p) { p.set_sampler(sampler); }, "sampler", "euler, euler-a"});
  }
  for (const std::string& type :
       {std::string(), std::string("image/jpeg"), std::string("IMAGE/PNG"),
        std::string("image/png; q=1"), std::string("image/png\0", 10), std::string(1 << 20, 'i')}) {
    cases->push_back({"mime_type " + type.substr(0, 16),
                      [=](Parameters& p) { p.set_mime_type(type); }, "mime_type", "image/png"});
  }
  for (const std::string& spacing :
       {std::string(), std::string("karras"), std::string("Trailing"), std::string("trailing "),
        std::string("leading\0", 8), std::string("sgm_uniform"), std::string(1 << 20, 't')}) {
    cases->push_back({"timestep_spacing " + spacing.substr(0, 10),
                      [=](Parameters& p) { p.set_timestep_spacing(spacing); }, "timestep_spacing",
                      "leading, trailing, linspace"});
  }
  for (const int value : {3, -1, 100, kMax32, kMin32}) {
    cases->push_back(
        {"prompt_syntax " + std::to_string(value),
         [=](Parameters& p) { p.set_prompt_syntax(static_cast<v1::PromptSyntax>(value)); },
         "prompt_syntax", "PROMPT_SYNTAX_PLAIN"});
  }
}

template <typename Message>
void AddUnknown(Message* message, int number) {
  message->GetReflection()->MutableUnknownFields(message)->AddVarint(number, 1);
}

void AddUnknownFields(Cases* cases) {
  // The highest number that protobuf has, and one of its reserved range.
  for (const int number : {34, 1000, 19000, 536870911}) {
    cases->push_back({"unknown field " + std::to_string(number),
                      [=](Parameters& p) { AddUnknown(&p, number); }, std::to_string(number),
                      "does not know"});
  }
  cases->push_back({"unknown field of a size",
                    [](Parameters& p) {
                      p.mutable_target_size()->set_width_px(1);
                      p.mutable_target_size()->set_height_px(1);
                      AddUnknown(p.mutable_target_size(), 3);
                    },
                    "target_size.3", "does not know"});
  cases->push_back({"unknown field of an offset",
                    [](Parameters& p) { AddUnknown(p.mutable_crop_top_left(), 3); },
                    "crop_top_left.3", "does not know"});
  cases->push_back({"unknown field of margins",
                    [](Parameters& p) {
                      p.set_init_image(GradientPng(64, 64));
                      AddUnknown(p.mutable_outpaint(), 5);
                    },
                    "outpaint.5", "does not know"});
  cases->push_back({"unknown group",
                    [](Parameters& p) {
                      p.GetReflection()->MutableUnknownFields(&p)->AddGroup(99)->AddVarint(1, 1);
                    },
                    "99", "does not know"});
}

std::string LatentsHeader(const std::string& shape, size_t data_bytes,
                          const std::string& dtype = "F32", const std::string& name = "latents") {
  return "{\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":[0," + std::to_string(data_bytes) + "]}}";
}

void AddLatents(Cases* cases) {
  constexpr size_t kBytes = size_t{4} * 16 * 16 * 4;
  const std::string good = GoodLatentsFile();
  std::string infinite = good;
  std::memcpy(infinite.data() + infinite.size() - 4, "\x00\x00\x80\x7f", 4);
  std::string nan = good;
  std::memcpy(nan.data() + nan.size() - 8, "\x01\x00\x80\xff", 4);
  std::string claims_much = good;
  std::memset(claims_much.data(), 0xFF, 8);
  const std::vector<std::pair<const char*, std::string>> bad_files = {
      {"nothing", ""},
      {"seven bytes", good.substr(0, 7)},
      {"no header", std::string(8, '\0')},
      {"text", "secret secret secret"},
      {"a PNG", std::string("\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 16)},
      {"a header of 2^64 - 1 bytes", claims_much},
      {"a header of 4097 bytes", LatentsFile(std::string(4097, ' '), 0)},
      {"a header that is no JSON", LatentsFile("latents", kBytes)},
      {"a header of brackets", LatentsFile(std::string(4000, '['), kBytes)},
      {"a list", LatentsFile("[1]", kBytes)},
      {"an empty object", LatentsFile("{}", 0)},
      {"another tensor", LatentsFile(LatentsHeader("[4,16,16]", kBytes, "F32", "x"), kBytes)},
      {"a tensor that is a number", LatentsFile(R"({"latents":1})", 0)},
      {"two tensors",
       LatentsFile(R"({"latents":{"dtype":"F32","shape":[4,16,16],"data_offsets":[0,4096]},"x":1})",
                   kBytes)},
      {"dtype F16", LatentsFile(LatentsHeader("[4,16,16]", kBytes / 2, "F16"), kBytes / 2)},
      {"no shape", LatentsFile(R"({"latents":{"dtype":"F32","data_offsets":[0,4096]}})", kBytes)},
      {"two dimensions", LatentsFile(LatentsHeader("[64,16]", kBytes), kBytes)},
      {"five dimensions", LatentsFile(LatentsHeader("[1,1,4,16,16]", kBytes), kBytes)},
      {"two images in one", LatentsFile(LatentsHeader("[2,2,16,16]", kBytes), kBytes)},
      {"a dimension of 0", LatentsFile(LatentsHeader("[4,0,16]", 0), 0)},
      {"a negative dimension", LatentsFile(LatentsHeader("[-4,16,16]", kBytes), kBytes)},
      {"dimensions that overflow",
       LatentsFile(LatentsHeader("[65536,65536,65536]", kBytes), kBytes)},
      {"a dimension of 2^64", LatentsFile(LatentsHeader("[18446744073709551616,1,1]", 4), 4)},
      {"a byte too few", good.substr(0, good.size() - 1)},
      {"a byte too many", good + "x"},
      {"offsets that lie",
       LatentsFile(R"({"latents":{"dtype":"F32","shape":[4,16,16],"data_offsets":[4,4100]}})",
                   kBytes)},
      {"infinity", infinite},
      {"NaN", nan},
  };
  for (const auto& [what, file] : bad_files) {
    cases->push_back({std::string("latents: ") + what,
                      [file = file](Parameters& p) {
                        p.set_denoising_start(0.5f);
                        p.add_initial_latents(file);
                      },
                      "initial_latents[0]", "safetensors"});
  }
  for (const char* shape : {"[4,16,17]", "[4,17,16]", "[3,16,16]", "[16,16,4]", "[4,64,64]"}) {
    int64_t channels = 0;
    int64_t height = 0;
    int64_t width = 0;
    std::sscanf(shape, "[%ld,%ld,%ld]", &channels, &height, &width);
    const auto bytes = static_cast<size_t>(channels * height * width * 4);
    const std::string file = LatentsFile(LatentsHeader(shape, bytes), bytes);
    cases->push_back({std::string("latents of the shape ") + shape,
                      [=](Parameters& p) {
                        p.set_denoising_start(0.5f);
                        p.add_initial_latents(file);
                      },
                      "initial_latents[0]", "[4, 16, 16]"});
  }
  const Cases counts = {
      {"no latents", [](Parameters& p) { p.set_denoising_start(0.5f); }, "initial_latents",
       "each of the 1 images"},
      {"latents for one of two",
       [](Parameters& p) {
         p.set_denoising_start(0.5f);
         p.set_image_count(2);
         p.add_initial_latents(GoodLatentsFile());
       },
       "initial_latents", "each of the 2 images"},
      {"latents for two of one",
       [](Parameters& p) {
         p.set_denoising_start(0.5f);
         p.add_initial_latents(GoodLatentsFile());
         p.add_initial_latents(GoodLatentsFile());
       },
       "initial_latents", "each of the 1 images"},
      {"latents without a start", [](Parameters& p) { p.add_initial_latents(GoodLatentsFile()); },
       "initial_latents", "denoising_start above 0"},
      {"9000 empty latents",
       [](Parameters& p) {
         p.set_denoising_start(0.5f);
         for (int i = 0; i < 9000; ++i) p.add_initial_latents("");
       },
       "initial_latents", "each of the 1 images"},
      {"the second latents",
       [](Parameters& p) {
         p.set_denoising_start(0.5f);
         p.set_image_count(2);
         p.add_initial_latents(GoodLatentsFile());
         p.add_initial_latents("secret");
       },
       "initial_latents[1]", "safetensors"},
  };
  cases->insert(cases->end(), counts.begin(), counts.end());
}

void AddStrengths(Cases* cases) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const double value :
       {0.0, -0.0, -0.3, std::nextafter(1.0, 2.0), 30.0, kInfinity, -kInfinity,
        std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::max()}) {
    cases->push_back({"strength " + std::to_string(value),
                      [=](Parameters& p) {
                        p.set_init_image(GradientPng(64, 64));
                        p.set_strength(value);
                      },
                      "strength", "above 0 and at most 1"});
  }
  // The fake model draws 4 steps by default.
  cases->push_back({"a strength that leaves no step",
                    [](Parameters& p) {
                      p.set_init_image(GradientPng(64, 64));
                      p.set_strength(0.2);
                    },
                    "strength", "of 0.2 leaves none of step_count 4"});
  cases->push_back({"the default strength of too few steps",
                    [](Parameters& p) {
                      p.set_init_image(GradientPng(64, 64));
                      p.set_step_count(3);
                    },
                    "strength", "of 0.3 leaves none of step_count 3"});
  cases->push_back({"a mask and one step",
                    [](Parameters& p) {
                      p.set_init_image(GradientPng(64, 64));
                      p.set_mask(HalfMaskPng(64, 64, 32));
                      p.set_step_count(1);
                    },
                    "strength", "of 0.9999 leaves none of step_count 1"});
}

void AddInpainting(Cases* cases) {
  // With all else that they go with.
  const auto with = [](const std::function<void(Parameters&)>& change) {
    return [=](Parameters& p) {
      p.set_init_image(GradientPng(64, 64));
      p.set_mask(HalfMaskPng(64, 64, 32));
      p.set_inpaint_area(v1::INPAINT_AREA_MASKED);
      change(p);
    };
  };
  const auto over = [](uint32_t width_px, uint32_t height_px,
                       const std::function<void(v1::Margins&)>& change) {
    return [=](Parameters& p) {
      p.set_init_image(GradientPng(width_px, height_px));
      change(*p.mutable_outpaint());
    };
  };
  AddIntegers(cases, "mask_blur_px", 0, 256, "0 to 256", [=](Parameters& p, int32_t value) {
    with([=](Parameters& good) { good.set_mask_blur_px(value); })(p);
  });
  AddIntegers(cases, "inpaint_padding_px", 0, 2048, "0 to 2048", [=](Parameters& p, int32_t value) {
    with([=](Parameters& good) { good.set_inpaint_padding_px(value); })(p);
  });
  using SetMargin = void (v1::Margins::*)(int32_t);
  const std::pair<const char*, SetMargin> sides[] = {
      {"outpaint.left_px", &v1::Margins::set_left_px},
      {"outpaint.top_px", &v1::Margins::set_top_px},
      {"outpaint.right_px", &v1::Margins::set_right_px},
      {"outpaint.bottom_px", &v1::Margins::set_bottom_px}};
  for (const auto& [field, set] : sides) {
    AddIntegers(cases, field, 0, 2048, "0 to 2048", [=, set = set](Parameters& p, int32_t value) {
      over(64, 64, [=](v1::Margins& margins) { (margins.*set)(value); })(p);
    });
  }
  for (const int value : {3, -1, 100, kMax32, kMin32}) {
    cases->push_back({"inpaint_area " + std::to_string(value), with([=](Parameters& p) {
                        p.set_inpaint_area(static_cast<v1::InpaintArea>(value));
                      }),
                      "inpaint_area", "INPAINT_AREA_WHOLE_IMAGE or INPAINT_AREA_MASKED"});
  }
  const Cases rest = {
      {"an inpaint_area that says nothing",
       with([](Parameters& p) { p.set_inpaint_area(v1::INPAINT_AREA_UNSPECIFIED); }),
       "inpaint_area", "INPAINT_AREA_WHOLE_IMAGE or INPAINT_AREA_MASKED"},
      {"a blur without an image", [](Parameters& p) { p.set_mask_blur_px(4); }, "mask_blur_px",
       "goes with mask or outpaint"},
      {"a blur without a mask", with([](Parameters& p) {
         p.clear_mask();
         p.set_mask_blur_px(4);
       }),
       "mask_blur_px", "goes with mask or outpaint"},
      {"a masked area without an image",
       [](Parameters& p) { p.set_inpaint_area(v1::INPAINT_AREA_MASKED); }, "inpaint_area",
       "goes with mask or outpaint"},
      {"a masked area without a mask", with([](Parameters& p) { p.clear_mask(); }), "inpaint_area",
       "goes with mask or outpaint"},
      {"a padding of the whole image", with([](Parameters& p) {
         p.set_inpaint_area(v1::INPAINT_AREA_WHOLE_IMAGE);
         p.set_inpaint_padding_px(32);
       }),
       "inpaint_padding_px", "goes with INPAINT_AREA_MASKED"},
      {"a padding without an image", [](Parameters& p) { p.set_inpaint_padding_px(32); },
       "inpaint_padding_px", "goes with INPAINT_AREA_MASKED"},
      {"pixels of a masked area that are not kept",
       with([](Parameters& p) { p.set_keep_unmasked_pixels(false); }), "keep_unmasked_pixels",
       "must be true with INPAINT_AREA_MASKED"},
      {"a masked area of a black mask",
       with([](Parameters& p) { p.set_mask(HalfMaskPng(64, 64, 64)); }), "mask",
       "is black all over"},
      {"margins without an image", [](Parameters& p) { p.mutable_outpaint()->set_left_px(8); },
       "outpaint", "goes with init_image"},
      {"margins of more pixels than an image may have",
       over(64, 64,
            [](v1::Margins& m) {
              m.set_left_px(2048);
              m.set_top_px(2048);
              m.set_right_px(2048);
              m.set_bottom_px(2048);
            }),
       "outpaint", "4160 x 4160 pixels, but it may have at most 16777216"},
      {"margins that make an image too wide", over(64, 64, [](auto& m) { m.set_right_px(2048); }),
       "width_px", "init_image with outpaint has 2112 x 64 pixels: give width_px and height_px"},
      {"a width between latents", over(64, 64, [](auto& m) { m.set_right_px(5); }),
       "outpaint.right_px",
       "makes the width of init_image 69, which must be a multiple of 4: give "
       "4 or 8, or width_px"},
      {"a width between latents by the left", over(64, 64, [](auto& m) { m.set_left_px(3); }),
       "outpaint.left_px", "give 0 or 4, or width_px"},
      {"a width between latents by both",
       over(64, 64,
            [](auto& m) {
              m.set_left_px(3);
              m.set_right_px(6);
            }),
       "outpaint.right_px", "give 5 or 9, or width_px"},
      {"a width between latents of an odd image", over(63, 64, [](auto& m) { m.set_left_px(2); }),
       "outpaint.left_px", "give 1 or 5, or width_px"},
      {"a width that only more mends", over(62, 64, [](auto& m) { m.set_left_px(1); }),
       "outpaint.left_px", "give 2, or width_px"},
      {"a height between latents", over(64, 64, [](auto& m) { m.set_top_px(6); }),
       "outpaint.top_px", "give 4 or 8, or height_px"},
      {"a height between latents that only less mends",
       over(64, 65, [](auto& m) { m.set_bottom_px(2048); }), "outpaint.bottom_px",
       "give 2047, or height_px"},
  };
  cases->insert(cases->end(), rest.begin(), rest.end());
}

void AddInputImages(Cases* cases) {
  AddStrengths(cases);
  for (const BadImageFile& bad : BadImageFiles()) {
    cases->push_back({std::string("init_image: ") + bad.name,
                      [=](Parameters& p) { p.set_init_image(bad.file); }, "init_image",
                      bad.refusal});
    cases->push_back({std::string("mask: ") + bad.name,
                      [=](Parameters& p) {
                        p.set_init_image(GradientPng(64, 64));
                        p.set_mask(bad.file);
                      },
                      "mask", bad.refusal});
  }
  const auto size = [](uint32_t width_px, uint32_t height_px) {
    return [=](Parameters& p) { p.set_init_image(GradientPng(width_px, height_px)); };
  };
  const auto with = [](const std::function<void(Parameters&)>& change) {
    return [=](Parameters& p) {
      p.set_init_image(GradientPng(64, 64));
      change(p);
    };
  };
  const std::string clear(size_t{4} * 64 * 64, '\0');
  const Cases rest = {
      {"strength without an image", [](Parameters& p) { p.set_strength(0.3); }, "strength",
       "goes with init_image"},
      {"a mask without an image", [](Parameters& p) { p.set_mask(HalfMaskPng(64, 64, 32)); },
       "mask", "goes with init_image"},
      {"kept pixels without a mask", with([](Parameters& p) { p.set_keep_unmasked_pixels(true); }),
       "keep_unmasked_pixels", "goes with mask"},
      {"pixels that are not kept, without a mask",
       [](Parameters& p) { p.set_keep_unmasked_pixels(false); }, "keep_unmasked_pixels",
       "goes with mask"},
      {"a mask of another width", with([](Parameters& p) { p.set_mask(HalfMaskPng(63, 64, 32)); }),
       "mask", "has 63 x 64 pixels, but init_image has 64 x 64"},
      {"a mask of another height",
       with([](Parameters& p) { p.set_mask(HalfMaskPng(64, 128, 32)); }), "mask",
       "has 64 x 128 pixels"},
      {"a mask of the size that is drawn, not the image's", with([](Parameters& p) {
         p.set_width_px(128);
         p.set_height_px(128);
         p.set_mask(HalfMaskPng(128, 128, 32));
       }),
       "mask", "has 128 x 128 pixels"},
      {"a transparent mask",
       with([=](Parameters& p) { p.set_mask(PngFile(64, 64, PngColours::kRgba, clear)); }), "mask",
       "transparent pixels"},
      {"a file one byte too large",
       [](Parameters& p) { p.set_init_image(std::string((8 << 20) + 1, 'x')); }, "init_image",
       "at most 8388608"},
      {"an image too narrow for any image", size(15, 64), "width_px", "init_image has 15 x 64"},
      {"an image too low for any image", size(64, 3), "height_px", "init_image has 64 x 3"},
      {"an image of one pixel", size(1, 1), "width_px", "give width_px and height_px"},
      {"an image too wide for any image", size(2052, 16), "width_px", "from 16 to 2048"},
      {"an image too high for any image", size(16, 2100), "height_px", "from 16 to 2048"},
      {"an image and a start", with([](Parameters& p) {
         p.set_denoising_start(0.5f);
         p.add_initial_latents(GoodLatentsFile());
       }),
       "init_image", "goes without initial_latents, denoising_start and denoising_end"},
      {"an image and an end", with([](Parameters& p) { p.set_denoising_end(0.5f); }), "init_image",
       "goes without"},
      {"an image and latents",
       with([](Parameters& p) { p.add_initial_latents(GoodLatentsFile()); }), "init_image",
       "goes without"},
  };
  cases->insert(cases->end(), rest.begin(), rest.end());
}

}  // namespace

std::string LatentsFile(const std::string& header, size_t data_bytes) {
  const uint64_t header_bytes = header.size();
  std::string file(sizeof(header_bytes), '\0');
  std::memcpy(file.data(), &header_bytes, sizeof(header_bytes));
  return file + header + std::string(data_bytes, '\0');
}

std::string GoodLatentsFile() { return LatentsFile(LatentsHeader("[4,16,16]", 4096), 4096); }

std::vector<BadImageParameters> AllBadImageParameters() {
  Cases cases;
  AddNumbers(&cases);
  AddChoices(&cases);
  AddTexts(&cases, "prompt", [](Parameters& p, const std::string& t) { p.set_prompt(t); });
  AddTexts(&cases, "prompt_2", [](Parameters& p, const std::string& t) { p.set_prompt_2(t); });
  AddTexts(&cases, "negative_prompt",
           [](Parameters& p, const std::string& t) { p.set_negative_prompt(t); });
  AddTexts(&cases, "negative_prompt_2",
           [](Parameters& p, const std::string& t) { p.set_negative_prompt_2(t); });
  AddUnknownFields(&cases);
  AddLatents(&cases);
  AddInputImages(&cases);
  AddInpainting(&cases);
  return cases;
}

}  // namespace tightfit
