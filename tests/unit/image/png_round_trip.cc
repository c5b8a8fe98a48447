// png_round_trip IN OUT: decodes IN and encodes it again into OUT, with its text and a `parameters`
// text of a fixed request. Exit status 1 and one line where IN is refused.
#include "server/image/parameters_text.h"
#include "server/image/png.h"

#include <cstdio>
#include <fstream>
#include <iterator>

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  std::ifstream in(argv[1], std::ios::binary);
  const std::vector<uint8_t> bytes((std::istreambuf_iterator<char>(in)),
                                   std::istreambuf_iterator<char>());
  auto decoded = tightfit::DecodePng(bytes, 1 << 20);
  if (!decoded.ok()) {
    std::puts(decoded.status().message().c_str());
    return 1;
  }
  tightfit::GenerationParameters request;
  request.model = "emoji: first, fine-tuned";
  request.prompt = "caf\u00E9 \u732B\nsecond line";
  request.negative_prompt = "blurry, bad";
  request.width_px = decoded->image.width_px;
  request.height_px = decoded->image.height_px;
  request.step_count = 25;
  request.guidance_scale = 7.5f;
  request.sampler = "dpmpp-2m-karras";
  request.clip_skip = 1;
  request.guidance_rescale = 0.7f;
  request.comma_backtrack_tokens = 0;
  request.timestep_spacing = "trailing";
  request.crop_top_left = {.height_px = 8, .width_px = 4};
  request.prompt_2 = "a \"quoted\", one\n";
  tightfit::ModelDescription model;
  model.hash = "0123456789abcdef";
  model.format = "hf8";
  decoded->text["parameters"] = tightfit::ParametersText(request, 4294967296, model);
  const auto encoded = tightfit::EncodePng(decoded->image, decoded->text);
  if (!encoded.ok()) {
    std::puts(encoded.status().message().c_str());
    return 1;
  }
  std::ofstream out(argv[2], std::ios::binary);
  out.write(reinterpret_cast<const char*>(encoded->data()),
            static_cast<std::streamsize>(encoded->size()));
  return out.good() ? 0 : 2;
}
