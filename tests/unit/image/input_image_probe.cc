// input_image_probe: does to images what stdin names, a line each, as a server does, and says a
// line each:
//
//   image FILE OUT            "ok WIDTH HEIGHT MICROSECONDS PEAK_KIB", the pixels in OUT
//   mask FILE OUT             the same of greys
//
// or "refused MICROSECONDS PEAK_KIB MESSAGE". MICROSECONDS: of a processor, so that other programs
// do not count. PEAK_KIB: how far the process grew beyond what it had before the line, at most.
// The same of raw pixels, where BOX is LEFT TOP WIDTH HEIGHT:
//
//   resize CHANNELS WIDTH HEIGHT NEW_WIDTH NEW_HEIGHT FILE OUT
//   part CHANNELS WIDTH HEIGHT NEW_WIDTH NEW_HEIGHT BOX FILE OUT    of what resize gives
//   fill CHANNELS WIDTH HEIGHT NEW_WIDTH NEW_HEIGHT FILE OUT        with the aspect kept
//   blur RADIUS WIDTH HEIGHT FILE OUT                               of greys
//   box PADDING NEW_WIDTH NEW_HEIGHT WIDTH HEIGHT FILE OUT          the BOX of a mask as text
//   margins LEFT TOP RIGHT BOTTOM WIDTH HEIGHT FILE OUT             the image, and then its mask
//   compose BOX WIDTH HEIGHT NEW_WIDTH NEW_HEIGHT FILE OUT          FILE: the image, the opacity of
//                                                                   the box, and what was drawn
#include "server/base/limits.h"
#include "server/image/gaussian_blur.h"
#include "server/image/inpaint_area.h"
#include "server/image/input_image.h"
#include "server/image/outpainting.h"
#include "server/image/resampling.h"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
}

void WriteFile(const std::string& path, const std::vector<uint8_t>& bytes) {
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()),
            static_cast<std::streamsize>(bytes.size()));
}

int64_t StatusKib(const std::string& key) {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.starts_with(key + ":")) return std::stoll(line.substr(key.size() + 1));
  }
  return 0;
}

int64_t ProcessorUs() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
}

struct Decoded {
  int32_t width_px = 0;
  int32_t height_px = 0;
  std::vector<uint8_t> bytes;
};

void Tell(const std::string& out, const std::function<Result<Decoded>()>& decode) {
  std::ofstream("/proc/self/clear_refs") << 5;  // the peak is what there is now
  const int64_t before_kib = StatusKib("VmRSS");
  const int64_t start_us = ProcessorUs();
  const Result<Decoded> decoded = decode();
  const int64_t took_us = ProcessorUs() - start_us;
  const int64_t grown_kib = StatusKib("VmHWM") - before_kib;
  if (decoded.ok()) {
    WriteFile(out, decoded->bytes);
    std::cout << "ok " << decoded->width_px << " " << decoded->height_px << " " << took_us << " "
              << grown_kib << std::endl;
  } else {
    std::cout << "refused " << took_us << " " << grown_kib << " " << decoded.status().message()
              << std::endl;
  }
}

// What a line says between its command and its files.
using Numbers = std::vector<int32_t>;
using Bytes = std::vector<uint8_t>;

Decoded Resize(const Numbers& n, Bytes bytes) {
  return {n[3], n[4], ResizeLanczos(std::move(bytes), n[0], n[1], n[2], n[3], n[4])};
}

Decoded ResizePart(const Numbers& n, Bytes bytes) {
  const PixelBox part{n[5], n[6], n[7], n[8]};
  return {n[7], n[8], ResizeLanczosPart(std::move(bytes), n[0], n[1], n[2], n[3], n[4], part)};
}

Decoded Fill(const Numbers& n, Bytes bytes) {
  if (n[0] == 3) {
    return {n[3], n[4], ResizedAndFilled(RgbImage{n[1], n[2], std::move(bytes)}, n[3], n[4]).rgb};
  }
  return {n[3], n[4], ResizedAndFilled(GreyImage{n[1], n[2], std::move(bytes)}, n[3], n[4]).grey};
}

Decoded Blur(const Numbers& n, Bytes bytes) {
  return {n[1], n[2], GaussianBlur(std::move(bytes), n[1], n[2], n[0])};
}

Decoded FindBox(const Numbers& n, Bytes bytes) {
  const std::optional<PixelBox> box = InpaintBox({n[3], n[4], std::move(bytes)}, n[0], n[1], n[2]);
  if (!box.has_value()) return {};
  std::ostringstream text;
  text << box->left_px << " " << box->top_px << " " << box->width_px << " " << box->height_px;
  const std::string told = text.str();
  return {box->width_px, box->height_px, Bytes(told.begin(), told.end())};
}

Decoded Enlarge(const Numbers& n, Bytes bytes) {
  const Margins margins{n[0], n[1], n[2], n[3]};
  RgbImage larger = WithMargins({n[4], n[5], std::move(bytes)}, margins);
  const GreyImage mask = MaskWithMargins(std::nullopt, n[4], n[5], margins);
  larger.rgb.insert(larger.rgb.end(), mask.grey.begin(), mask.grey.end());
  return {larger.width_px, larger.height_px, std::move(larger.rgb)};
}

Decoded Compose(const Numbers& n, Bytes bytes) {
  const PixelBox box{n[0], n[1], n[2], n[3]};
  const auto drawn = bytes.end() - std::ptrdiff_t{3} * n[6] * n[7];
  const auto opacity = drawn - std::ptrdiff_t{1} * box.width_px * box.height_px;
  const auto image =
      std::make_shared<const RgbImage>(RgbImage{n[4], n[5], Bytes(bytes.begin(), opacity)});
  const Composition composition{.image = image, .box = box, .opacity = Bytes(opacity, drawn)};
  Result<RgbImage> composed = Composed(composition, {n[6], n[7], Bytes(drawn, bytes.end())});
  if (!composed.ok()) return {};
  return {composed->width_px, composed->height_px, std::move(composed->rgb)};
}

struct PixelCommand {
  std::string_view name;
  size_t number_count;
  Decoded (*run)(const Numbers&, Bytes);
};
constexpr PixelCommand kPixelCommands[] = {
    {"resize", 5, Resize}, {"part", 9, ResizePart}, {"fill", 5, Fill},      {"blur", 3, Blur},
    {"box", 5, FindBox},   {"margins", 6, Enlarge}, {"compose", 8, Compose}};

void Run(std::istream& line) {
  const Limits limits;
  const InputImageBounds bounds{.max_bytes = limits.max_input_image_bytes,
                                .max_pixels = limits.max_input_image_px};
  std::string command;
  line >> command;
  const PixelCommand* on_pixels = nullptr;
  for (const PixelCommand& each : kPixelCommands) {
    if (each.name == command) on_pixels = &each;
  }
  Numbers numbers(on_pixels != nullptr ? on_pixels->number_count : 0);
  for (int32_t& number : numbers) line >> number;
  std::string file;
  std::string out;
  line >> file >> out;
  const std::string bytes = ReadFile(file);
  if (on_pixels != nullptr) {
    return Tell(out, [&]() -> Result<Decoded> {
      return on_pixels->run(numbers, Bytes(bytes.begin(), bytes.end()));
    });
  }
  if (command == "image") {
    return Tell(out, [&]() -> Result<Decoded> {
      TF_ASSIGN_OR_RETURN(RgbImage image, DecodeInputImage(bytes, bounds));
      return Decoded{image.width_px, image.height_px, std::move(image.rgb)};
    });
  }
  Tell(out, [&]() -> Result<Decoded> {
    TF_ASSIGN_OR_RETURN(GreyImage mask, DecodeInputMask(bytes, bounds));
    return Decoded{mask.width_px, mask.height_px, std::move(mask.grey)};
  });
}

}  // namespace
}  // namespace tightfit

int main() {
  std::string line;
  while (std::getline(std::cin, line)) {
    std::istringstream words(line);
    tightfit::Run(words);
  }
  return 0;
}
