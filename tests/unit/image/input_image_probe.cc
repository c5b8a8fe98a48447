// input_image_probe: decodes what stdin names, a line each, as a server does, and says a line each:
//
//   image FILE OUT            "ok WIDTH HEIGHT MICROSECONDS PEAK_KIB", the pixels in OUT
//   mask FILE OUT             the same of greys
//   resize CHANNELS WIDTH HEIGHT NEW_WIDTH NEW_HEIGHT FILE OUT    the same of raw pixels
//
// or "refused MICROSECONDS PEAK_KIB MESSAGE". MICROSECONDS: of a processor, so that other programs
// do not count. PEAK_KIB: how far the process grew beyond what it had before the line, at most.
#include "server/base/limits.h"
#include "server/image/input_image.h"
#include "server/image/resampling.h"

#include <cstdint>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <sstream>
#include <string>
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

void Run(std::istream& line) {
  const Limits limits;
  const InputImageBounds bounds{.max_bytes = limits.max_input_image_bytes,
                                .max_pixels = limits.max_input_image_px};
  std::string command;
  std::string file;
  std::string out;
  line >> command;
  if (command == "resize") {
    int32_t channels = 0;
    int32_t width_px = 0;
    int32_t height_px = 0;
    Decoded made;
    line >> channels >> width_px >> height_px >> made.width_px >> made.height_px >> file >> out;
    const std::string pixels = ReadFile(file);
    const std::vector<uint8_t> bytes(pixels.begin(), pixels.end());
    return Tell(out, [&]() -> Result<Decoded> {
      made.bytes =
          ResizeLanczos(bytes, channels, width_px, height_px, made.width_px, made.height_px);
      return made;
    });
  }
  line >> file >> out;
  const std::string bytes = ReadFile(file);
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
